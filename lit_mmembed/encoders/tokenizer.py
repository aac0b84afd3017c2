"""Tokenizers behind one small interface, and training of an own byte-pair one for encoders from scratch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_file

PAD, START, END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"
PAD_ID, START_ID, END_ID = range(3)


class Tokenizer(Protocol):
    """Turns texts into ids, start and end tokens included, cut to the context. Picklable."""

    context_length: int
    pad_id: int
    fixed_length: bool
    """Pad to the whole context: the text tower's answer depends on the padding."""

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids of each text, at most `context_length`; the last is the end token, also when cut."""
        ...


def train_tokenizer(texts: Iterable[str], out: str | Path, *, vocab_size: int = 4096) -> None:
    """Train a lower-casing byte-level BPE and write its `tokenizer.json`; the same texts give the same bytes."""
    from tokenizers import Tokenizer as Bpe
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    bpe = Bpe(models.BPE())
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        show_progress=False,
        special_tokens=[PAD, START, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    bpe.train_from_iterator(texts, trainer)
    with atomic_file(out) as partial:
        partial.write_text(bpe.to_str(pretty=False), encoding="utf-8")


class BpeTokenizer:
    """A tokenizer that `train_tokenizer` wrote. Texts that spell a special token get no special id."""

    pad_id = PAD_ID
    fixed_length = False

    def __init__(self, path: str | Path, context_length: int) -> None:
        try:
            self._json = Path(path).read_text(encoding="utf-8")
        except OSError as missing:
            raise InputError(
                f"the tokenizer can't be read: {missing.strerror}", file=path, fix="train it first, or correct the path"
            ) from None
        self.context_length = context_length
        try:
            self._load()
        except Exception as broken:  # the library raises nothing narrower
            raise InputError(f"is no tokenizer: {broken}", file=path, fix="train it again") from None
        if [self._bpe.token_to_id(token) for token in (PAD, START, END)] != [PAD_ID, START_ID, END_ID]:
            raise InputError("is no tokenizer of this project", file=path, fix="train it with train_tokenizer")

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids of each text, cut to the context."""
        # One by one: encode_batch starts threads, which a forked DataLoader worker must not inherit.
        room = self.context_length - 2
        return [[START_ID, *self._bpe.encode(text).ids[:room], END_ID] for text in texts]

    @property
    def vocab_size(self) -> int:
        """How many ids the model's embedding needs."""
        return self._bpe.get_vocab_size()

    def save(self, path: Path) -> None:
        """Write the file that this was read from."""
        path.write_text(self._json, encoding="utf-8")

    def __getstate__(self) -> dict[str, Any]:
        return {"_json": self._json, "context_length": self.context_length}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load()

    def _load(self) -> None:
        from tokenizers import Tokenizer as Bpe

        self._bpe = Bpe.from_str(self._json)
        self._bpe.encode_special_tokens = True


class ClipTokenizer:
    """The BPE of OpenAI's CLIP as open_clip ships it."""

    pad_id = 0
    fixed_length = False

    def __init__(self, context_length: int = 77) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self.context_length = context_length
        self._bpe = SimpleTokenizer(context_length=context_length)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids of each text, cut to the context."""
        room = self.context_length - 2
        start, end = self._bpe.sot_token_id, self._bpe.eot_token_id
        return [[start, *self._bpe.encode(text)[:room], end] for text in texts]


class OpenClipHfTokenizer:
    """A Hugging Face tokenizer in open_clip's clothes (SigLIP and others), padded to the whole context."""

    fixed_length = True

    def __init__(self, name_or_folder: str, context_length: int, **options: Any) -> None:
        from open_clip.tokenizer import HFTokenizer

        self.context_length = context_length
        self._tokenizer = HFTokenizer(name_or_folder, context_length=context_length, **options)
        self.pad_id = int(self._tokenizer.tokenizer.pad_token_id or 0)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids of each text, padded to the context."""
        return self._tokenizer(list(texts)).tolist()

    def save(self, folder: Path) -> None:
        """Write the tokenizer's own files."""
        self._tokenizer.tokenizer.save_pretrained(str(folder))


class TransformersTokenizer:
    """A CLIP tokenizer loaded by transformers, by name or from a folder."""

    fixed_length = False

    def __init__(self, name_or_folder: str | Path, context_length: int) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(str(name_or_folder))
        self.context_length = context_length
        self.pad_id = int(self._tokenizer.pad_token_id or 0)

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Return ids of each text, cut to the context."""
        # Cut here: asking the tokenizer to do so changes its state, and with it the files that `save` writes.
        encoded = self._tokenizer(list(texts), verbose=False)["input_ids"]
        return [
            ids if len(ids) <= self.context_length else [*ids[: self.context_length - 1], ids[-1]] for ids in encoded
        ]

    def save(self, folder: Path) -> None:
        """Write the tokenizer's own files."""
        self._tokenizer.save_pretrained(str(folder))


def padded(ids: Sequence[Sequence[int]], pad_id: int, width: int | None = None) -> Tensor:
    """Return [n, L] int64, L = the longest of `ids` or `width`."""
    width = width or max((len(row) for row in ids), default=0)
    return torch.tensor([[*row, *[pad_id] * (width - len(row))] for row in ids], dtype=torch.int64).view(-1, width)
