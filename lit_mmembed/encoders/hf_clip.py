"""CLIP towers from transformers: `openai/clip-vit-large-patch14`, the backbone of the paper's CLIP_SF."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lit_mmembed.encoders.clip_fusion import ClipBackbone
from lit_mmembed.encoders.images import INTERPOLATIONS, ImageTransform
from lit_mmembed.encoders.tokenizer import TransformersTokenizer
from lit_mmembed.errors import InputError

MODEL_FOLDER = "clip"


class HfClipBackbone(ClipBackbone):
    """A `transformers.CLIPModel`, fp32.

    Args:
        name_or_path: A name on the Hugging Face hub (downloaded), or a folder with model, tokenizer and processor.
        image_mode: `exact` as the released model was trained, or `fast`; see `ImageTransform`.
        config_only: Build it without weights, which are loaded later; what a model folder asks for.
    """

    def __init__(
        self,
        name_or_path: str | Path = "openai/clip-vit-large-patch14",
        *,
        image_mode: Literal["exact", "fast"] = "exact",
        config_only: bool = False,
    ) -> None:
        super().__init__()
        self.model: Any = _empty(name_or_path) if config_only else _released(name_or_path)
        self.model.logit_scale.requires_grad_(False)  # InfoNCE has the temperature
        text, vision = self.model.config.text_config, self.model.config.vision_config
        self.dimension = int(self.model.config.projection_dim)
        self.tokenizer: TransformersTokenizer = TransformersTokenizer(name_or_path, int(text.max_position_embeddings))
        self.images = _image_transform(name_or_path, image_mode)
        if self.images.size != vision.image_size:
            problem = f"the processor makes images of {self.images.size}, the model takes {vision.image_size}"
            raise InputError(problem, file=name_or_path, fix="correct preprocessor_config.json")
        self.patches = (vision.image_size // vision.patch_size) ** 2

    def encode_text(self, tokens_BL: Tensor) -> Tensor:
        """Return text vectors [B, dimension]; attention is causal, so padding on the right needs no mask."""
        return self.model.text_projection(self.model.text_model(input_ids=tokens_BL).pooler_output)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return image vectors [B, dimension]."""
        return self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)

    def text_parameters(self) -> list[nn.Parameter]:
        """Return the text tower and its projection."""
        return [*self.model.text_model.parameters(), *self.model.text_projection.parameters()]

    def image_parameters(self) -> list[nn.Parameter]:
        """Return the vision tower and its projection."""
        return [*self.model.vision_model.parameters(), *self.model.visual_projection.parameters()]

    def init_args(self, folder: Path) -> dict[str, Any]:
        """Write the model's config, tokenizer and image processor into `folder` and name it."""
        own = folder / MODEL_FOLDER
        self.model.config.save_pretrained(str(own))
        self.tokenizer.save(own)
        _processor(self.images).save_pretrained(str(own))
        return {"name_or_path": MODEL_FOLDER, "image_mode": self.images.mode, "config_only": True}


def _released(name_or_path: str | Path) -> Any:
    from transformers import CLIPModel

    try:
        return CLIPModel.from_pretrained(str(name_or_path), dtype=torch.float32).train()  # as a module that was built
    except OSError as missing:
        fix = "give a folder with config.json and model.safetensors, or a name that can be downloaded"
        raise InputError(f"no CLIP model: {str(missing).splitlines()[0]}", file=name_or_path, fix=fix) from None


def _empty(folder: str | Path) -> Any:
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel(CLIPConfig.from_pretrained(str(folder))).float()


def _image_transform(name_or_path: str | Path, mode: Literal["exact", "fast"]) -> ImageTransform:
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(str(name_or_path))
    return ImageTransform(
        size=int(processor.size["shortest_edge"]),
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
        interpolation=INTERPOLATIONS[int(processor.resample)],
        mode=mode,
    )


def _processor(images: ImageTransform) -> Any:
    from transformers import CLIPImageProcessor

    resample = {name: number for number, name in INTERPOLATIONS.items()}[images.interpolation]
    return CLIPImageProcessor(
        size={"shortest_edge": images.size},
        crop_size={"height": images.size, "width": images.size},
        image_mean=list(images.mean),
        image_std=list(images.std),
        resample=resample,
    )
