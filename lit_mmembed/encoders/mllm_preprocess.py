"""From rows to the packed token ids and pixels of an MLLM: prompted, tokenized, cut, images expanded.

Features of n rows with T tokens and m images:

    tokens        [T] int32    ids; an image is its token as often as it has vectors
    lengths       [n] int32    tokens of each row
    counts        [T] bool     tokens that pooling counts
    cut           [n] int32    text tokens left out because the row was longer than the limit
    pixels        [P, ...]     what the vision tower takes, image after image
    image_row     [m] int32    the row of each image
    image_parts   [m] int32    how many of the P entries each image has
    image_tokens  [m] int32    how many tokens it is in the language model
    image_size    [m, k] int32 what the backbone needs of its shape

The last five are absent where no row has an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from lit_mmembed.data.reserved import refuse_spelling
from lit_mmembed.encoders.prompts import Part, PromptStyle
from lit_mmembed.errors import InputError
from lit_mmembed.types import EncoderRow, Features, Side

CHARACTERS_PER_TOKEN = 4
InstructionMask = Literal["none", "clean", "nv_embed", "mm_embed"]


class ImageParts(NamedTuple):
    """One image, ready for a vision tower."""

    pixels: Tensor
    """[p, ...]: tiles or patches."""
    tokens: int
    """Vectors that it becomes in the language model."""
    size: tuple[int, ...]
    """What the backbone needs of its shape."""


class ImageInput(Protocol):
    """How a backbone takes images. Picklable."""

    placeholder: str
    """What stands in the prompt for an image."""
    token_id: int
    """The id, inside the placeholder's ids, that is repeated for every vector."""

    @property
    def typical_tokens(self) -> int:
        """For estimates of a row's length."""
        ...

    def __call__(self, encoded: bytes, *, record: str | None = None) -> ImageParts:
        """Decode an image; InputError names `record` when it can't be read."""
        ...


class Tokenized(NamedTuple):
    """A prompt's ids before images are expanded, and which of them pooling counts."""

    ids: list[int]
    counts: list[bool]
    cut: int


class MllmPreprocess:
    """Makes the features of rows.

    Args:
        tokenizer: A fast tokenizer of transformers.
        images: How images are taken; None for a model of texts only.
        prompts: The style.
        query_length: Tokens of a query at most, before images expand; an image counts as one (appendix A.1). Only
            the row's own text is cut. Its own `length`, where it has one, goes before this.
        candidate_length: The same of a document.
        instruction_mask: Which tokens pooling leaves out. `none`; `clean`: all before the query's own image or text;
            `nv_embed` and `mm_embed`: what the released code leaves out, for equality with released vectors.
    """

    def __init__(
        self,
        tokenizer: Any,
        images: ImageInput | None,
        prompts: PromptStyle,
        *,
        query_length: int = 128,
        candidate_length: int = 128,
        instruction_mask: InstructionMask = "none",
    ) -> None:
        self.tokenizer = tokenizer
        self.images = images
        self.prompts = prompts
        self.reserved = tokenizer.convert_ids_to_tokens(images.token_id) if images else None
        """What no text may spell: it stands for an image."""
        self.takes_lengths = True
        self.limit = {Side.QUERY: query_length, Side.CANDIDATE: candidate_length}
        self.instruction_mask = instruction_mask

    def __call__(self, rows: Sequence[EncoderRow]) -> Features:
        """Prompt, tokenize and decode; InputError for a row without content, with a stray placeholder or image."""
        tokens: list[int] = []
        counts: list[bool] = []
        lengths, cut, images = [], [], []
        for index, row in enumerate(rows):
            prompt = self.tokenized(row)
            image = self._image(row)
            if image is not None:
                images.append((index, image))
            ids, counting = self._expanded(prompt, image, row)
            tokens += ids
            counts += counting
            lengths.append(len(ids))
            cut.append(prompt.cut)
        features: Features = {
            "tokens": torch.tensor(tokens, dtype=torch.int32),
            "lengths": torch.tensor(lengths, dtype=torch.int32),
            "counts": torch.tensor(counts, dtype=torch.bool),
            "cut": torch.tensor(cut, dtype=torch.int32),
        }
        return features | _image_features(images) if images else features

    def lengths(self, characters: np.ndarray, images: np.ndarray, side: Side) -> np.ndarray:
        """Estimate rows' tokens: a quarter of the characters, at most the limit, and the image's vectors."""
        text = np.minimum(characters // CHARACTERS_PER_TOKEN + 2, self.limit[side])
        return text + (self.images.typical_tokens if self.images else 0) * images.astype(np.int64)

    def tokenized(self, row: EncoderRow) -> Tokenized:
        """Return a row's ids, cut to the limit, images not expanded."""
        if not row.text and row.image is None:
            raise InputError("has neither text nor image", record=label(row), fix="give it a text, an image or both")
        parts = self.prompts.parts(row)
        self._check(row)
        strings = [self.images.placeholder if p.kind == "image" and self.images else p.string for p in parts]
        starts = list(accumulate(map(len, strings), initial=0))
        encoded = self.tokenizer.backend_tokenizer.encode("".join(strings))
        ids, offsets = encoded.ids, encoded.offsets
        if self.prompts.append_eos and (not ids or ids[-1] != self.tokenizer.eos_token_id):
            ids, offsets = [*ids, self.tokenizer.eos_token_id], [*offsets, (starts[-1], starts[-1])]
        masked = self._masked(row, parts, starts, offsets)
        kept, cut = _cut(ids, offsets, parts, starts, row.length or self.limit[row.side])
        return Tokenized([ids[i] for i in kept], [i >= masked for i in kept], cut)

    def _check(self, row: EncoderRow) -> None:
        if self.images is None:
            if row.image is not None:
                fix = "leave the image out, or take a backbone with a vision tower"
                raise InputError("has an image, and this model only reads text", record=label(row), fix=fix)
            return
        refuse_spelling(self.reserved, (row.text, row.instruction), label(row))

    def _masked(self, row: EncoderRow, parts: list[Part], starts: list[int], offsets: Sequence[Any]) -> int:
        """Return how many tokens from the left pooling leaves out."""
        if self.instruction_mask == "none" or row.side is Side.CANDIDATE or not row.instruction:
            return 0
        own = next(i for i, part in enumerate(parts) if part.kind in ("image", "text"))
        if self.instruction_mask == "clean":
            own_ones = (i for i, (start, end) in enumerate(offsets) if end > starts[own] and end > start)
            return next(own_ones, len(offsets) - 1)  # the text may be nothing to the tokenizer
        prefix = "".join(part.string for part in parts[:own])
        if self.instruction_mask == "nv_embed":
            return len(self.tokenizer.tokenize(prefix))
        # MM-Embed tokenizes what stands before "\nQuery: " with BOS and EOS, and so masks one token more.
        return len(self.tokenizer.tokenize(prefix.split("\nQuery: ")[0])) + 2

    def _image(self, row: EncoderRow) -> ImageParts | None:
        return self.images(row.image, record=label(row)) if self.images and row.image is not None else None

    def _expanded(self, prompt: Tokenized, image: ImageParts | None, row: EncoderRow) -> tuple[list[int], list[bool]]:
        if image is None or self.images is None:
            return prompt.ids, prompt.counts
        places = [i for i, token in enumerate(prompt.ids) if token == self.images.token_id]
        if len(places) != 1:
            problem = f"the tokenizer makes {len(places)} image tokens of {self.images.placeholder!r}, not one"
            raise InputError(problem, record=label(row), fix="use the tokenizer that belongs to the model")
        (place,) = places
        more = [self.images.token_id] * (image.tokens - 1)
        counting = [prompt.counts[place]] * (image.tokens - 1)
        return (
            [*prompt.ids[:place], *more, *prompt.ids[place:]],
            [*prompt.counts[:place], *counting, *prompt.counts[place:]],
        )


def label(row: EncoderRow) -> str:
    """Name a row in an error."""
    described = f"with text {row.text[:60]!r}" if row.text else "without text"
    return f"a {row.side.value} {described}"


def select_rows(features: Features, rows: Tensor) -> Features:
    """Return the features of some rows, in that order; a row appears once."""
    device = features["lengths"].device
    rows = rows.to(device)
    chosen = {"lengths": features["lengths"][rows], "cut": features["cut"][rows]}
    tokens = ragged_places(features["lengths"], rows)
    chosen |= {name: features[name][tokens] for name in ("tokens", "counts")}
    if "image_row" not in features:
        return chosen
    place = torch.full((len(features["lengths"]),), -1, dtype=torch.int64, device=device)
    place[rows] = torch.arange(len(rows), device=device)
    new_row = place[features["image_row"].long()]
    images = torch.nonzero(new_row >= 0).flatten()
    images = images[new_row[images].argsort(stable=True)]
    if len(images):
        chosen |= {"image_row": new_row[images].to(torch.int32)}
        chosen |= {name: features[name][images] for name in ("image_parts", "image_tokens", "image_size")}
        parts = ragged_places(features["image_parts"], images)
        chosen |= {name: features[name][parts] for name in ("pixels", "vision") if name in features}
    return chosen


def ragged_places(lengths: Tensor, rows: Tensor) -> Tensor:
    """Return where the entries of some rows lie in a ragged array, row after row."""
    lengths = lengths.long()
    starts = lengths.cumsum(0) - lengths
    wanted = lengths[rows]
    within = torch.arange(int(wanted.sum()), device=lengths.device)
    before = torch.repeat_interleave(wanted.cumsum(0) - wanted, wanted)
    return torch.repeat_interleave(starts[rows], wanted) + within - before


def _cut(
    ids: Sequence[int], offsets: Sequence[Any], parts: list[Part], starts: list[int], limit: int
) -> tuple[list[int], int]:
    """Return the places of the ids that stay, and how many of the row's text were cut."""
    over = len(ids) - limit
    if over <= 0:
        return list(range(len(ids))), 0
    spans = [(starts[i], starts[i + 1]) for i, part in enumerate(parts) if part.kind == "text"]
    own = [i for i, (start, end) in enumerate(offsets) if end > start and any(a <= start < b for a, b in spans)]
    gone = set(own[max(0, len(own) - over) :])
    return [i for i in range(len(ids)) if i not in gone], len(gone)


def _image_features(images: list[tuple[int, ImageParts]]) -> Features:
    return {
        "pixels": torch.cat([image.pixels for _, image in images]),
        "image_row": torch.tensor([index for index, _ in images], dtype=torch.int32),
        "image_parts": torch.tensor([len(image.pixels) for _, image in images], dtype=torch.int32),
        "image_tokens": torch.tensor([image.tokens for _, image in images], dtype=torch.int32),
        "image_size": torch.tensor([image.size for _, image in images], dtype=torch.int32),
    }
