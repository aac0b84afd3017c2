"""A LLaVA-Next that answers True or False: packed prompts, a query's shared prefix once, two rows of the head.

Shapes: T packed tokens, n questions, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lit_mmembed.encoders.checkpoints import config_of
from lit_mmembed.encoders.fused import fuse_norms
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm_backbone import DType, refuse_sliding_window
from lit_mmembed.encoders.mllm_preprocess import ImageParts
from lit_mmembed.encoders.pretrained import weights_hash
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.attention import SHARED, SharedPacking, register
from lit_mmembed.reranking.checkpoint import checkpoint_template, head_rows, question_wordings
from lit_mmembed.reranking.prompts import Questions, TemplateName, chat_template
from lit_mmembed.reranking.tokens import PromptTokens, SharedPrompts, Unit, digest, shared
from lit_mmembed.reranking.true_false import answers_of
from lit_mmembed.reranking.vision_cache import SeenImage, VisionCache

CACHE_BYTES = 2 * 1024**3
GPU_TILES = 32
"""Tiles of a pass of the vision tower on a GPU, always as many: an image's features must not depend on the others."""


@dataclass(frozen=True)
class LlavaPrompts:
    """The questions of one query, or a part of them."""

    prompts: SharedPrompts
    images: dict[str, ImageParts | SeenImage]

    def length(self, units: Sequence[Unit]) -> int:
        """Return the tokens of a stretch, images expanded."""
        return sum(self.images[unit].tokens if isinstance(unit, str) else 1 for unit in units)

    @property
    def tokens(self) -> int:
        """Tokens that the language model reads."""
        prefix = self.length(self.prompts.prefix)
        return prefix + sum(self.length(suffix) for suffix in self.prompts.suffixes)

    def parts(self, budget: int) -> list[LlavaPrompts]:
        """Cut into parts of at most `budget` tokens, each with the prefix; a longer question is a part of its own."""
        prefix = self.length(self.prompts.prefix)
        groups: list[list[tuple[Unit, ...]]] = []
        filled = 0
        for suffix in self.prompts.suffixes:
            length = self.length(suffix)
            if not groups or filled + length > budget:
                groups.append([])
                filled = prefix
            groups[-1].append(suffix)
            filled += length
        return [LlavaPrompts(SharedPrompts(self.prompts.prefix, tuple(group)), self.images) for group in groups]


class LlavaReranker(nn.Module):
    """A LLaVA-Next checkpoint that is asked whether documents answer queries.

    Args:
        checkpoint: Folder or hub name: `llava-hf/llava-v1.6-mistral-7b-hf`, `llava-hf/llava-v1.6-34b-hf`, or what
            `mmembed pretrain` and `mmembed fit-reranker` write.
        template: The chat template around Table 13's question; the paper names none.
        dtype: Of the weights. The two logits are fp32.
        any_resolution: Take an image's tiles as well as the whole of it.
        max_tokens: Longest prompt; the model's context by default.
        batch_tokens: Tokens of one pass at most.
        cache_bytes: Vision features that are kept for other queries.

    Raises:
        InputError: no LLaVA-Next checkpoint, one without a head, or a tokenizer without the two answers.
    """

    head: Tensor
    """[2, D] fp32: the output head's rows of both answers."""

    def __init__(
        self,
        checkpoint: str | Path,
        *,
        template: TemplateName = "none",
        dtype: DType = "float32",
        any_resolution: bool = False,
        max_tokens: int | None = None,
        batch_tokens: int = 8192,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        super().__init__()
        self.source = checkpoint
        self.backbone = LlavaNextBackbone(checkpoint, dtype=dtype, any_resolution=any_resolution)
        assert self.backbone.images is not None
        self.images = self.backbone.images
        register()
        language: Any = self.backbone.language_model
        language.config._attn_implementation = SHARED
        fuse_norms(language)
        self.tokenizer: Any = self.backbone.tokenizer
        chosen = chat_template(template, self.tokenizer, checkpoint_template(checkpoint))
        self.answers = answers_of(self.tokenizer, chosen, question_wordings())
        self.units = PromptTokens(self.tokenizer, self.images.token_id, chosen, self.answers.lead)
        rows = head_rows(checkpoint, (self.answers.true, self.answers.false))
        self.register_buffer("head", rows, persistent=False)
        self.max_tokens = max_tokens or int(config_of(checkpoint)["text_config"].get("max_position_embeddings", 32768))
        two_images = 2 * self.backbone.most_image_tokens + 512  # the longest that is foreseen; `prepare` sees the texts
        refuse_sliding_window(self.backbone.config.text_config, min(self.max_tokens, two_images), checkpoint)
        self.batch_tokens = batch_tokens
        self.cache = VisionCache(cache_bytes)
        self._asked = {"template": template, "dtype": dtype, "any_resolution": any_resolution}

    def prepare(self, questions: Questions) -> LlavaPrompts:
        """Tokenize the questions of a query and decode the images that are not in the cache."""
        record = f"query {questions.query_id}"
        units = [self.units(prompt, record=record) for prompt in questions.prompts]
        images: dict[str, ImageParts | SeenImage] = {}
        for prompt in questions.prompts:
            for encoded in prompt.images:
                name = digest(encoded)
                if name not in images:
                    images[name] = self.cache.get(name) or self.images(encoded, record=record)
        made = LlavaPrompts(shared(units), images)
        longest = max(made.length(one) for one in units)
        if longest > self.max_tokens:
            problem = f"a prompt of {longest} tokens is longer than {self.max_tokens}"
            raise InputError(problem, record=record, fix="lower --document-tokens, or raise --max-tokens")
        refuse_sliding_window(self.backbone.config.text_config, longest, f"{self.source}: {record}")
        return made

    @torch.no_grad()
    def margins(self, prepared: Sequence[LlavaPrompts]) -> list[np.ndarray]:
        """Return for each query the logits of "True" minus those of "False" [documents] float32."""
        parts = [part for one in prepared for part in one.parts(self.batch_tokens)]
        batches: list[list[LlavaPrompts]] = []
        filled = 0
        for part in parts:
            if not batches or filled + part.tokens > self.batch_tokens:
                batches.append([])
                filled = 0
            batches[-1].append(part)
            filled += part.tokens
        flat = torch.cat([self.differences(batch) for batch in batches]).cpu().numpy()
        ends = np.cumsum([len(one.prompts.suffixes) for one in prepared])[:-1]
        return np.split(flat, ends)

    def differences(self, batch: Sequence[LlavaPrompts]) -> Tensor:
        """Return the differences [n] fp32 of all questions of a batch in one pass, with gradients where they are on."""
        device = self.head.device
        images = {name: image for prompts in batch for name, image in prompts.images.items()}
        tokens, order = self._tokens(batch, images)
        packing = SharedPacking(
            [one.length(one.prompts.prefix) for one in batch],
            [[one.length(suffix) for suffix in one.prompts.suffixes] for one in batch],
            device,
        )
        places = tokens == self.images.token_id
        embedded = self.backbone.embed(tokens, places)
        if order:
            vectors = self._image_tokens(order, self._seen(images, order)).to(embedded.dtype)
            embedded = embedded.index_copy(0, places.nonzero().flatten(), vectors)
        hidden = self.backbone.language_model(
            inputs_embeds=embedded.unsqueeze(0),
            position_ids=packing.position.unsqueeze(0),
            use_cache=False,
            packing=packing,
        ).last_hidden_state[0]
        true, false = self.head
        with torch.autocast(device.type, enabled=False):  # which would multiply in half precision
            return hidden[packing.last].float() @ (true - false)

    def record(self) -> dict[str, Any]:
        """Return the weights' hash, the template and the answers' ids."""
        return {"scorer": type(self).__name__, **self._asked, "answers": self.answers.record(), "weights": self.hash()}

    def hash(self) -> str:
        """SHA-256 over every weight that takes part."""
        return weights_hash(self, {**self.state_dict(), "head": self.head})

    def _tokens(self, batch: Sequence[LlavaPrompts], images: dict[str, Any]) -> tuple[Tensor, list[str]]:
        """Return packed ids [T], an image's as often as it has vectors, and the images in the order of their places."""
        pieces = [one.prompts.prefix for one in batch]
        pieces += [suffix for one in batch for suffix in one.prompts.suffixes]
        token, ids, order = self.images.token_id, [], []
        for unit in (unit for piece in pieces for unit in piece):
            if isinstance(unit, str):
                order.append(unit)
                ids += [token] * images[unit].tokens
            else:
                ids.append(unit)
        return torch.tensor(ids, device=self.head.device), order

    def _image_tokens(self, order: Sequence[str], seen: dict[str, SeenImage]) -> Tensor:
        rows = [seen[name] for name in order]
        shape = {
            "image_parts": torch.tensor([len(image.vision) for image in rows]),
            "image_size": torch.tensor([image.size for image in rows]),
        }
        return self.backbone.project(torch.cat([image.vision for image in rows]), shape)

    @torch.no_grad()
    def _seen(self, images: dict[str, ImageParts | SeenImage], order: Sequence[str]) -> dict[str, SeenImage]:
        """Return the features of the images in `order`, made or from the cache."""
        seen: dict[str, SeenImage] = {}
        fresh: dict[str, ImageParts] = {}
        for name in dict.fromkeys(order):
            image = images[name]
            found = image if isinstance(image, SeenImage) else self.cache.get(name)
            if found is not None:
                seen[name] = found
            elif isinstance(image, ImageParts):
                fresh[name] = image
        for (name, image), vision in zip(fresh.items(), self._vision(list(fresh.values())), strict=True):
            seen[name] = SeenImage(vision, image.tokens, image.size)
            self.cache.put(name, seen[name])
        return seen

    def _vision(self, images: Sequence[ImageParts]) -> list[Tensor]:
        """Run the tower in passes of one shape, so that an image's features are the same bits in every run."""
        device = self.head.device
        if device.type == "cpu":
            return [self.backbone.vision({"pixels": image.pixels}) for image in images]
        if not images:
            return []
        tiles = torch.cat([image.pixels for image in images])
        missing = -len(tiles) % GPU_TILES
        padded = torch.cat([tiles, tiles.new_zeros(missing, *tiles.shape[1:])])
        made = torch.cat([self.backbone.vision({"pixels": group.to(device)}) for group in padded.split(GPU_TILES)])
        parts = made[: len(tiles)].split([len(image.pixels) for image in images])
        return [part.clone() for part in parts]  # kept as a view, one image would keep the whole pass
