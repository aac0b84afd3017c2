"""Images as LLaVA-Next takes them: the whole picture resized to a square, and with `any_resolution` its tiles too.

The paper only uses the whole picture ("global image patch", appendix A.1): 24 x 24 vectors of CLIP-L/14 at 336 px, and
the newline vector behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lit_mmembed.data.images import MAX_PIXELS
from lit_mmembed.encoders.checkpoints import local_folder
from lit_mmembed.encoders.images import INTERPOLATIONS, ImageTransform, decoded
from lit_mmembed.encoders.mllm_preprocess import ImageParts
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class GlobalImage:
    """The whole picture, squashed to a square: one tile."""

    transform: ImageTransform
    grid: int
    """Patches along a side."""
    token_id: int
    placeholder: str = "<image>"

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel."""
        return self.transform.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Of each channel."""
        return self.transform.std

    @property
    def typical_tokens(self) -> int:
        """Patches and the newline."""
        return self.grid**2 + 1

    @property
    def most_tokens(self) -> int:
        """Every picture has as many."""
        return self.typical_tokens

    def __call__(self, encoded: bytes, *, record: str | None = None) -> ImageParts:
        """Return uint8 pixels [1, 3, S, S]."""
        pixels = self.transform(encoded, record=record).unsqueeze(0)
        return ImageParts(pixels, self.typical_tokens, (pixels.shape[-2], pixels.shape[-1]))


@dataclass
class TiledImage:
    """LLaVA-Next's any-resolution: the whole picture first, then the tiles of the best of `pinpoints`."""

    processor: Any
    """transformers' `LlavaNextImageProcessorPil`."""
    grid: int
    """Patches along a tile's side."""
    token_id: int
    placeholder: str = "<image>"
    max_pixels: int = MAX_PIXELS

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel."""
        return tuple(self.processor.image_mean)

    @property
    def std(self) -> tuple[float, ...]:
        """Of each channel."""
        return tuple(self.processor.image_std)

    @property
    def typical_tokens(self) -> int:
        """Five tiles: the whole picture and two by two."""
        return 5 * self.grid**2

    @property
    def most_tokens(self) -> int:
        """Tokens of a picture that fills the tiles of the largest resolution, a newline after each of their rows."""
        side = int(self.processor.crop_size["height"])
        grids = [[extent // side * self.grid for extent in found] for found in self.processor.image_grid_pinpoints]
        return self.grid**2 + max(rows * columns + rows for rows, columns in grids)

    def __call__(self, encoded: bytes, *, record: str | None = None) -> ImageParts:
        """Return uint8 pixels [tiles, 3, S, S]."""
        return decoded(encoded, self._parts, max_pixels=self.max_pixels, record=record)  # type: ignore[arg-type,return-value]

    def _parts(self, image: Image) -> ImageParts:
        rgb = image.convert("RGB")
        made = self.processor([rgb], do_rescale=False, do_normalize=False)
        tiles = torch.from_numpy(np.stack([np.asarray(tile) for tile in made["pixel_values"][0]]).astype(np.uint8))
        height, width = (int(side) for side in made["image_sizes"][0])
        return ImageParts(tiles, self._tokens(height, width), (height, width))

    def _tokens(self, height: int, width: int) -> int:
        """Return the vectors that stay when the padding around the picture is cut off its tiles."""
        from transformers.image_processing_utils import select_best_resolution

        side = int(self.processor.crop_size["height"])
        best = select_best_resolution((height, width), self.processor.image_grid_pinpoints)
        rows, columns = (extent // side * self.grid for extent in best)
        if width / height > columns / rows:
            rows -= 2 * ((rows - int(round(height * (columns / width), 7))) // 2)
        else:
            columns -= 2 * ((columns - int(round(width * (rows / height), 7))) // 2)
        return self.grid**2 + rows * columns + rows


def image_input(
    source: str | Path, vision: Any, token_id: int, *, any_resolution: bool, grids: list[list[int]] | None = None
) -> GlobalImage | TiledImage:
    """Read preprocessor_config.json beside a checkpoint.

    Args:
        source: The checkpoint.
        vision: Configuration of the vision tower.
        token_id: Of the image token.
        any_resolution: Take an image's tiles as well as the whole of it.
        grids: The resolutions that the model takes tiles of; None leaves them unchecked.

    Raises:
        InputError: there is none, or its images are of another size than the vision tower's or of other resolutions.
    """
    settings = image_settings(source)
    size, grid = int(settings["crop_size"]["height"]), vision.image_size // vision.patch_size
    if size != vision.image_size:
        problem = f"the processor makes images of {size}, the model takes {vision.image_size}"
        raise InputError(problem, file=source, fix="correct preprocessor_config.json")
    if any_resolution:
        from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

        known = {key: value for key, value in settings.items() if not key.endswith("_type")}
        processor = LlavaNextImageProcessorPil(**known)
        if grids and sorted(map(list, processor.image_grid_pinpoints)) != sorted(map(list, grids)):
            problem = f"the processor cuts images into {processor.image_grid_pinpoints}, the model takes {grids}"
            raise InputError(problem, file=source, fix="correct image_grid_pinpoints in preprocessor_config.json")
        return TiledImage(processor, grid, token_id)
    mean, std = (tuple(settings[name]) for name in ("image_mean", "image_std"))
    interpolation = INTERPOLATIONS[int(settings["resample"])]
    return GlobalImage(ImageTransform(size, mean, std, resize="squash", interpolation=interpolation), grid, token_id)


def image_settings(source: str | Path) -> dict[str, Any]:
    """Return `processor_settings` of a LLaVA-Next checkpoint, transformers' defaults filled in."""
    return _filled(*processor_settings(source))


def processor_settings(source: str | Path) -> tuple[dict[str, Any], Path]:
    """Return what preprocessor_config.json, or its place in processor_config.json, says, and the file that says it."""
    folder = local_folder(source)
    for name, key in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        if (folder / name).exists():
            content = read_json(folder / name)
            found = content if key is None else content.get(key)
            if isinstance(found, dict):
                return found, folder / name
    fix = "copy preprocessor_config.json from the released model"
    raise InputError("has no preprocessor_config.json", file=folder, fix=fix)


def _filled(given: dict[str, Any], file: Path) -> dict[str, Any]:
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    try:
        processor = LlavaNextImageProcessorPil(**{k: v for k, v in given.items() if not k.endswith("_type")})
        return {
            **given,
            "crop_size": {side: int(processor.crop_size[side]) for side in ("height", "width")},
            "image_mean": list(processor.image_mean),
            "image_std": list(processor.image_std),
            "resample": int(processor.resample),
        }
    except (TypeError, KeyError, ValueError) as unfit:
        raise InputError(f"is no LLaVA-Next image processor: {unfit}", file=file, fix="take the model's own") from None
