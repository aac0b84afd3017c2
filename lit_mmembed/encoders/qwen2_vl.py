"""Qwen2-VL: a vision tower of any resolution, a merger of 2 x 2 patches, a Qwen2 language model with 3-D positions.

Not in the paper: what its recipe takes when the backbone is another one. Features of an image: `pixels` uint8
[patches, 3, p, p], in the order of the merger's blocks, and `image_size` (1, rows, columns) of patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_mmembed.data.images import MAX_PIXELS
from lit_mmembed.encoders.checkpoints import config_of, load_strictly, sub_config, without_weights
from lit_mmembed.encoders.images import decoded, normalised
from lit_mmembed.encoders.llava_images import processor_settings
from lit_mmembed.encoders.llava_next import copy_side_files, image_token
from lit_mmembed.encoders.mllm_backbone import (
    DTYPES,
    SOURCE_FOLDER,
    DType,
    MllmBackbone,
    fast_tokenizer,
    refuse_sliding_window,
)
from lit_mmembed.encoders.mllm_preprocess import ImageParts
from lit_mmembed.encoders.packing import PACKED, Packing, register
from lit_mmembed.errors import InputError
from lit_mmembed.types import Features

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_TOKEN = "<|image_pad|>"
PATCHES_AT_ONCE = 32768
"""Of the vision tower: bounds its memory; an image is never cut."""
LONGEST_TEXT = 512


@dataclass
class Qwen2VlImage:
    """A picture of its own aspect ratio, resized to whole blocks of patches."""

    processor: Any
    """transformers' `Qwen2VLImageProcessorPil`."""
    token_id: int
    placeholder: str = f"<|vision_start|>{IMAGE_TOKEN}<|vision_end|>"
    max_pixels: int = MAX_PIXELS
    """Of the encoded image."""

    @property
    def block(self) -> int:
        """Patches that become one token."""
        return int(self.processor.merge_size) ** 2

    @property
    def typical_tokens(self) -> int:
        """Tokens of a picture that is not smaller than the largest size."""
        return int(self.processor.size["longest_edge"]) // (int(self.processor.patch_size) ** 2 * self.block)

    def __call__(self, encoded: bytes, *, record: str | None = None) -> ImageParts:
        """Return uint8 pixels [patches, 3, p, p]."""
        return decoded(encoded, self._parts, max_pixels=self.max_pixels, record=record)  # type: ignore[arg-type,return-value]

    def _parts(self, image: Image) -> ImageParts:
        made = self.processor([image.convert("RGB")], do_rescale=False, do_normalize=False)
        side, frames = int(self.processor.patch_size), int(self.processor.temporal_patch_size)
        patches = torch.from_numpy(made["pixel_values"]).view(-1, 3, frames, side, side)
        # All frames of a picture are the same: one travels.
        pixels = patches[:, :, 0].to(torch.uint8)
        return ImageParts(pixels, len(pixels) // self.block, tuple(int(n) for n in made["image_grid_thw"][0]))


class Qwen2VlBackbone(MllmBackbone):
    """A `Qwen2VLModel`: `Qwen/Qwen2-VL-2B-Instruct`, or a folder of that form. `visual.merger` is the projector.

    Args:
        path: Folder or hub name with config.json, safetensors, tokenizer and preprocessor_config.json.
        dtype: Of the weights. What LoRA and the projector train stays fp32.
        min_pixels: A smaller picture is enlarged to as many.
        max_pixels: A larger picture is reduced to as many: 256 tokens of 28 x 28 pixels.
        weights: Load the weights; a model folder brings its own.

    Raises:
        InputError: another architecture; weights missing, left over or misshapen; no image token in the tokenizer.
    """

    def __init__(
        self,
        path: str | Path = "Qwen/Qwen2-VL-2B-Instruct",
        *,
        dtype: DType = "float32",
        min_pixels: int = 4 * 28 * 28,
        max_pixels: int = 256 * 28 * 28,
        weights: bool = True,
    ) -> None:
        super().__init__()
        self.from_checkpoint = weights
        self._source = {"path": str(path), "dtype": dtype, "min_pixels": min_pixels, "max_pixels": max_pixels}
        self.config = qwen2_vl_config(path)
        model: Any = without_weights(lambda: _model(self.config), DTYPES[dtype])
        self.visual = model.visual
        self.language_model = model.language_model
        if weights:
            load_strictly(self, path, rename=_renamed, unused=(r"^lm_head\.", r"\.inv_freq$"))
        self.width = int(self.config.text_config.hidden_size)
        self.tokenizer = fast_tokenizer(path)
        token = image_token(self.config, self.tokenizer, path, IMAGE_TOKEN)
        processor = image_processor(path, self.config.vision_config, min_pixels=min_pixels, max_pixels=max_pixels)
        self.images: Qwen2VlImage = Qwen2VlImage(processor, token)
        refuse_sliding_window(self.config.text_config, self.images.typical_tokens + LONGEST_TEXT, path)
        self.register_buffer("pixel_mean", torch.tensor(processor.image_mean), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(processor.image_std), persistent=False)

    def projector(self) -> nn.Module:
        """Return the merger of patches."""
        return self.visual.merger

    def vision(self, features: Features) -> Tensor:
        """Return the last block's hidden states [patches, Dv]."""
        sizes = features["image_size"].long()
        groups = list(_groups(features["image_parts"].tolist(), PATCHES_AT_ONCE))
        pixels = features["pixels"].split([patches for _, patches in groups])
        parts = zip(pixels, sizes.split([images for images, _ in groups]), strict=True)
        return torch.cat([self._tower(group, size) for group, size in parts])

    def project(self, vision: Tensor, features: Features) -> Tensor:
        """Return image tokens: every block of patches merged."""
        return self.visual.merger(vision.to(self.visual.merger.mlp[0].weight.dtype))

    def positions(self, features: Features, packing: Packing) -> Tensor:
        """Return [3, 1, T]: time, row and column of every token, from 0 in each row (Qwen2-VL's multimodal RoPE).

        A text's tokens have three equal positions; an image's have one time and its rows and columns, beginning where
        the text before it ended; the text behind it goes on after the longer of its sides.
        """
        text_T = packing.position
        if "image_row" not in features:
            return text_T.expand(3, 1, -1)
        sides = features["image_size"][:, 1:].long() // self.visual.spatial_merge_size
        count, row = features["image_tokens"].long(), features["image_row"].long()
        image = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
        place = (features["tokens"] == self.images.token_id).nonzero().flatten()
        begin = text_T[place[count.cumsum(0) - count]]
        inside, width = text_T[place] - begin[image], sides[image, 1]
        grid = torch.stack([begin[image], begin[image] + inside // width, begin[image] + inside % width])
        shift_n, begin_n = (
            torch.zeros_like(packing.lengths).index_copy(0, row, of) for of in (sides.amax(1) - count, begin)
        )
        later_T = text_T + shift_n[packing.row] * (text_T > begin_n[packing.row])
        return later_T.expand(3, -1).index_copy(1, place, grid).unsqueeze(1)

    def init_args(self, folder: Path) -> dict[str, Any]:
        """Copy config, tokenizer and processor into `folder`."""
        copy_side_files(str(self._source["path"]), folder / SOURCE_FOLDER)
        return {**self._source, "path": SOURCE_FOLDER, "weights": False}

    def source_args(self) -> dict[str, Any]:
        """Return the arguments that this was built with."""
        return dict(self._source)

    def _tower(self, pixels: Tensor, sizes: Tensor) -> Tensor:
        from transformers.vision_utils import get_vision_position_ids

        tower = self.visual
        kernel = (
            tower.patch_embed.proj.weight
        )  # [Dv, 3, frames, p, p], as large as a patch: the product of a linear layer
        values = normalised(pixels, self.pixel_mean, self.pixel_std).to(kernel.dtype)  # type: ignore[arg-type]
        frames = values.unsqueeze(2).expand(-1, -1, kernel.shape[2], -1, -1)
        hidden = F.linear(frames.flatten(1), kernel.flatten(1))
        angles = tower.rotary_pos_emb(hidden, get_vision_position_ids(sizes, tower.spatial_merge_size))
        lengths = sizes.prod(dim=1)
        packing = Packing(lengths, causal=False, longest=int(lengths.max()))
        whole = torch.tensor([0, len(hidden)])  # one stretch: the packing keeps images apart
        for block in tower.blocks:
            hidden = block(hidden, cu_seqlens=whole, position_embeddings=angles, packing=packing)
        return hidden


def qwen2_vl_config(path: str | Path) -> Any:
    """Read the configuration of a Qwen2-VL checkpoint; InputError for another architecture."""
    from transformers import Qwen2VLConfig

    raw = config_of(path)
    if raw.get("model_type") != "qwen2_vl":
        problem = f"is of the architecture {raw.get('model_type')!r}, not qwen2_vl"
        raise InputError(problem, file=path, fix="take the backbone class of that architecture")
    sub_config(raw, "vision_config", path)
    return Qwen2VLConfig.from_dict(raw)


def image_processor(path: str | Path, vision: Any, *, min_pixels: int, max_pixels: int) -> Any:
    """Read the image processor beside a checkpoint, with other limits; its patches must be the vision tower's."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    if min_pixels > max_pixels:
        raise InputError(f"min_pixels {min_pixels} is above max_pixels {max_pixels}", fix="swap them")
    settings, file = processor_settings(path)
    limits = {"shortest_edge": min_pixels, "longest_edge": max_pixels}
    replaced = ("size", "min_pixels", "max_pixels")
    kept = {
        key: value for key, value in settings.items() if key not in replaced and not key.endswith(("_type", "_class"))
    }
    try:
        processor = Qwen2VLImageProcessorPil(**kept, size=limits)
    except (TypeError, ValueError) as unfit:
        raise InputError(f"is no Qwen2-VL image processor: {unfit}", file=file, fix="take the model's own") from None
    for name, wanted in (("patch_size", vision.patch_size), ("merge_size", vision.spatial_merge_size)):
        if getattr(processor, name) != wanted:
            problem = f"{name} is {getattr(processor, name)}, the model's is {wanted}"
            raise InputError(problem, file=file, fix="take the model's own preprocessor_config.json")
    return processor


def _model(config: Any) -> Any:
    from transformers import Qwen2VLModel

    register()
    config.text_config._attn_implementation = config.vision_config._attn_implementation = PACKED
    model = Qwen2VLModel(config)
    model.language_model.config._attn_implementation = model.visual.config._attn_implementation = PACKED
    return model


def _renamed(name: str) -> str:
    """Return the name of a weight here: released files call the language model's body `model`."""
    return f"language_model.{name.removeprefix('model.')}" if name.startswith("model.") else name


def _groups(patches: list[int], limit: int) -> Iterator[tuple[int, int]]:
    """Yield (images, patches) of consecutive images that have at most `limit` patches, or of one that has more."""
    images = total = 0
    for count in patches:
        if images and total + count > limit:
            yield images, total
            images = total = 0
        images, total = images + 1, total + count
    yield images, total
