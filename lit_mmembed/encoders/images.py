"""From an encoded image to the pixels that a vision tower takes: checked, decoded, resized, cropped.

Pixels stay uint8 until they are on the device of the model (`normalised`): a quarter of the bytes cross from worker to
trainer, and no value is lost, since resizing in PIL yields bytes anyway.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lit_mmembed.data.images import MAX_PIXELS
from lit_mmembed.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
INTERPOLATIONS: dict[int, Literal["bicubic", "bilinear"]] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, which preprocessor_config.json uses."""


@dataclass(frozen=True)
class ImageTransform:
    """What a backbone wants of its images; picklable, holds no parameters.

    `shortest` resizes the shorter side to `size` and crops the centre, as CLIP does; `squash` ignores the aspect ratio.
    `exact` gives the bytes of transformers' `CLIPImageProcessorPil`, as the released models were trained. Its
    torchvision twin, `CLIPImageProcessor`, rounds otherwise: 1/255 away from both, 2/255 in some values of 100,000.
    `fast` lets the JPEG decoder scale down, cuts the central square and resizes that: fewer operations, small
    differences.
    """

    size: int = 224
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mode: Literal["exact", "fast"] = "exact"
    max_pixels: int = MAX_PIXELS

    def __call__(self, encoded: bytes, *, record: str | None = None) -> Tensor:
        """Return uint8 pixels [3, size, size].

        Raises:
            InputError: the image can't be read, or its header announces more than `max_pixels`.
        """
        return decoded(encoded, self._steps(), max_pixels=self.max_pixels, record=record)

    def _steps(self) -> Callable[[Image], Tensor]:
        if self.resize == "squash":
            return lambda image: _tensor(resize_squashed(image, self.size, self.interpolation))
        if self.mode == "fast":
            return lambda image: resize_fast(image, self.size, self.interpolation)
        return lambda image: _tensor(resize_exact(image, self.size, self.interpolation))


def decoded(
    encoded: bytes, steps: Callable[[Image], Tensor], *, max_pixels: int = MAX_PIXELS, record: str | None = None
) -> Tensor:
    """Open an image, look at its announced size, and only then decode it inside `steps`."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(encoded))
        width, height = image.size
        if width * height <= max_pixels:
            return steps(image)
    except Exception as broken:  # PIL raises OSError, SyntaxError, ValueError, struct.error, zlib.error and its own
        raise InputError(
            f"the image can't be read: {broken}", record=record, fix="replace the image, or leave the record out"
        ) from None
    raise InputError(
        f"the image announces {width} x {height} pixels, more than {max_pixels:,}",
        record=record,
        fix="scale it down, or raise max_pixels if you trust where it comes from",
    )


def resize_exact(image: Image, size: int, interpolation: str = "bicubic") -> Image:
    """Resize the shorter side to `size` and crop the centre, byte for byte as CLIP's released processor does."""
    image = image.convert("RGB")
    width, height = image.size
    short = min(width, height)
    scaled = (size * width // short, size * height // short)
    if scaled != image.size:
        image = image.resize(scaled, _filter(interpolation))
    left, top = ((side - size) // 2 for side in scaled)
    return image.crop((left, top, left + size, top + size))


def resize_fast(image: Image, size: int, interpolation: Literal["bicubic", "bilinear"] = "bicubic") -> Tensor:
    """Decode a JPEG at the smallest of 1/1, 1/2, 1/4, 1/8 that is large enough, then resize only the central square.

    Torch resizes bytes with vector instructions, in half of Pillow's time and 1/255 away from it, rarely 2/255.
    """
    width, height = image.size
    short = min(width, height)
    image.draft("RGB", (size * width // short, size * height // short))
    if image.mode != "RGB":  # convert copies also where there is nothing to convert
        image = image.convert("RGB")
    width, height = image.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    square = _tensor(image.crop((left, top, left + short, top + short))).unsqueeze(0)
    return functional.interpolate(square, (size, size), mode=interpolation, antialias=True)[0]


def resize_squashed(image: Image, size: int, interpolation: str = "bicubic") -> Image:
    """Resize to `size` x `size` whatever the aspect ratio (SigLIP)."""
    return image.convert("RGB").resize((size, size), _filter(interpolation))


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return (pixels / 255 - mean) / std in the type of `mean`; pixels [n, 3, H, W] uint8, mean and std [3]."""
    scale = (1 / (255 * std)).view(-1, 1, 1)
    shift = (mean / std).view(-1, 1, 1)
    return pixels.to(mean.dtype, copy=True).mul_(scale).sub_(shift)  # in place: half the time of new memory


def _filter(interpolation: str) -> int:
    from PIL import Image

    return {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}[interpolation]


def _tensor(image: Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
