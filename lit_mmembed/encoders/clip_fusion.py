"""CLIP_SF (section 4.1): image and text encoded apart, summed, normalised.

The score-level fusion of UniIR: the vector of a row is text vector + image vector, each as the backbone gives it (not
normalised on its own), absent parts counting as zero, and the sum has length one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_mmembed.data.instructions import format_text
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.images import ImageTransform, normalised
from lit_mmembed.encoders.pretrained import class_path
from lit_mmembed.encoders.tokenizer import Tokenizer, padded
from lit_mmembed.errors import InputError
from lit_mmembed.types import EncoderRow, Features, Side

CHARACTERS_PER_TOKEN = 4


class ClipBackbone(nn.Module, ABC):
    """Two towers into one space; what `ClipFusion` needs of a CLIP-like model."""

    dimension: int
    tokenizer: Tokenizer
    images: ImageTransform
    patches: int
    """Tokens that an image costs."""

    @abstractmethod
    def encode_text(self, tokens_BL: Tensor) -> Tensor:
        """Return text vectors [B, dimension], not normalised; L may be anything up to the context length."""

    @abstractmethod
    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return image vectors [B, dimension], not normalised, of normalised pixels [B, 3, H, W]."""

    @abstractmethod
    def text_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that only `encode_text` uses."""

    @abstractmethod
    def image_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that only `encode_image` uses."""

    @abstractmethod
    def init_args(self, folder: Path) -> dict[str, Any]:
        """Return constructor arguments that rebuild this offline; see `Encoder.init_args`."""


class ClipFusion(Encoder):
    """Sums the vectors of a row's text and image.

    Args:
        backbone: Two towers, e.g. `lit_mmembed.encoders.open_clip_backbone.OpenClipBackbone`.
        text_groups: Into how many groups of similar length the texts of a batch are cut, each padded to its own
            longest. More groups waste less on padding; 4 is good on a CPU, 1 or 2 on a GPU.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, backbone: ClipBackbone, *, text_groups: int = 1) -> None:
        super().__init__()
        self.backbone = backbone
        self.dimension = backbone.dimension
        self.text_groups = text_groups
        self.preprocess = FusionPreprocess(backbone.tokenizer, backbone.images, backbone.patches, text_groups)
        self.register_buffer("pixel_mean", torch.tensor(backbone.images.mean), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(backbone.images.std), persistent=False)

    def forward(self, features: Features) -> Tensor:
        """Return unit vectors [n, dimension], one per row."""
        sums_ND = torch.zeros(len(features["modality"]), self.dimension, device=features["modality"].device)
        for group in range(self.text_groups):
            if f"tokens{group}" in features:
                vectors = self.backbone.encode_text(features[f"tokens{group}"])
                sums_ND = sums_ND.index_add(0, features[f"text_rows{group}"], vectors.float())
        if "pixels" in features:
            pixels = normalised(features["pixels"], self.pixel_mean, self.pixel_std)
            vectors = self.backbone.encode_image(pixels)
            sums_ND = sums_ND.index_add(0, features["image_rows"], vectors.float())
        return F.normalize(sums_ND + self._idle(features), dim=-1)

    def costs(self, features: Features) -> Tensor:
        """Return text tokens (padding of its group included) plus image patches of each row."""
        costs = torch.zeros(len(features["modality"]), dtype=torch.int64, device=features["modality"].device)
        for group in range(self.text_groups):
            if f"tokens{group}" in features:
                costs[features[f"text_rows{group}"]] += features[f"tokens{group}"].shape[1]
        if "pixels" in features:
            costs[features["image_rows"]] += self.backbone.patches
        return costs

    def select(self, features: Features, rows: Tensor) -> Features:
        """Return the features of some rows; groups keep their padding."""
        device = features["modality"].device
        rows = rows.to(device)
        place = torch.full((len(features["modality"]),), -1, dtype=torch.int64, device=device)
        place[rows] = torch.arange(len(rows), device=device)
        chosen: Features = {"modality": features["modality"][rows]}
        pairs = [(f"text_rows{group}", f"tokens{group}") for group in range(self.text_groups)]
        for owners, content in (*pairs, ("image_rows", "pixels")):
            if content in features:
                kept = torch.nonzero(place[features[owners]] >= 0).flatten()
                if len(kept):
                    chosen |= {owners: place[features[owners][kept]], content: features[content][kept]}
        return chosen

    def init_args(self, folder: Path) -> dict[str, Any]:
        """Return the backbone's own description and the number of text groups."""
        backbone = {"class_path": class_path(self.backbone), "init_args": self.backbone.init_args(folder)}
        return {"backbone": backbone, "text_groups": self.text_groups}

    def _idle(self, features: Features) -> Tensor | float:
        """Return a zero that depends on the parameters of a tower that this batch does not use.

        DDP waits for a gradient of every parameter, so a process with a batch of texts only would hang the others. It
        is added with one process too: a parameter with gradient zero (momentum goes on) is not the same to AdamW as one
        with none (skipped), and results must not depend on the number of processes.
        """
        if not (self.training and torch.is_grad_enabled()):
            return 0.0
        idle = [] if any(name.startswith("tokens") for name in features) else self.backbone.text_parameters()
        idle = idle if "pixels" in features else idle + self.backbone.image_parameters()
        return sum((parameter.sum() * 0.0 for parameter in idle if parameter.requires_grad), start=0.0)


class FusionPreprocess:
    """Makes tokens of rows that have text, pixels of rows that have an image, and remembers whose they are.

    Features: `modality` [n] int8; per group g of texts `tokens{g}` [m, L] and `text_rows{g}` [m]; `pixels`
    [m, 3, H, W] uint8 and `image_rows` [m]. What no row has is absent.
    """

    def __init__(self, tokenizer: Tokenizer, images: ImageTransform, patches: int, text_groups: int) -> None:
        self.tokenizer = tokenizer
        self.images = images
        self.patches = patches
        self.text_groups = text_groups

    def __call__(self, rows: Sequence[EncoderRow]) -> Features:
        """Prompt, tokenize and decode; InputError for a row with neither text nor image, or a broken image."""
        texts = {index: text for index, row in enumerate(rows) if (text := prompted_text(row))}
        images = {index: self._pixels(row) for index, row in enumerate(rows) if row.image is not None}
        codes = [_modality_code(row, index in texts, index in images) for index, row in enumerate(rows)]
        features: Features = {"modality": torch.tensor(codes, dtype=torch.int8)}
        if texts:
            features |= self._token_groups(texts)
        if images:
            features |= {"pixels": torch.stack(list(images.values())), "image_rows": torch.tensor(list(images))}
        return features

    def lengths(self, characters: np.ndarray, images: np.ndarray, side: Side) -> np.ndarray:
        """Estimate rows' tokens: a quarter of the characters, at most the context, and the image's patches."""
        text = np.minimum(characters // CHARACTERS_PER_TOKEN + 2, self.tokenizer.context_length) * (characters > 0)
        return text + self.patches * images.astype(np.int64)

    def _token_groups(self, texts: dict[int, str]) -> Features:
        encoded = sorted(zip(texts, self.tokenizer(list(texts.values())), strict=True), key=lambda pair: len(pair[1]))
        width = self.tokenizer.context_length if self.tokenizer.fixed_length else None
        size = -(-len(encoded) // self.text_groups)
        features: Features = {}
        for group, start in enumerate(range(0, len(encoded), size)):
            rows, ids = zip(*encoded[start : start + size], strict=True)
            features[f"tokens{group}"] = padded(ids, self.tokenizer.pad_id, width)
            features[f"text_rows{group}"] = torch.tensor(rows)
        return features

    def _pixels(self, row: EncoderRow) -> Tensor:
        assert row.image is not None
        return self.images(row.image, record=_label(row))


def prompted_text(row: EncoderRow) -> str:
    """Return what the text tower reads: instruction and text in M-BEIR's form; "" for an image alone."""
    return format_text(f"{row.instruction or ''} {row.text or ''}")


def _modality_code(row: EncoderRow, text: bool, image: bool) -> int:
    if not (text or image):
        raise InputError("has neither text nor image", record=_label(row), fix="give it a text, an image or both")
    return 2 if text and image else int(image)


def _label(row: EncoderRow) -> str:
    described = f"with text {row.text[:60]!r}" if row.text else "without text"
    return f"a {row.side.value} {described}"
