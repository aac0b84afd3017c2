"""LLaVA-Next: CLIP's vision tower, a two-layer projector, a Mistral-like language model (section 4.1 of the paper)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_mmembed.encoders.checkpoints import (
    config_of,
    load_strictly,
    local_folder,
    sub_config,
    with_own_rules,
    without_weights,
)
from lit_mmembed.encoders.images import normalised
from lit_mmembed.encoders.llava_images import image_input
from lit_mmembed.encoders.mllm_backbone import (
    DTYPES,
    SOURCE_FOLDER,
    DType,
    MllmBackbone,
    fast_tokenizer,
    refuse_sliding_window,
)
from lit_mmembed.encoders.packing import PACKED, register
from lit_mmembed.encoders.quantization import Quantization, quantize_linears
from lit_mmembed.errors import InputError
from lit_mmembed.types import Features

TILES_AT_ONCE = 64
SIDE_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
    "processor_config.json",
    "chat_template.jinja",
)


class LlavaNextBackbone(MllmBackbone):
    """A `LlavaNextModel`: `llava-hf/llava-v1.6-mistral-7b-hf`, `llava-hf/llava-v1.6-34b-hf`, or a folder of that form.

    Args:
        path: Folder or hub name with config.json, safetensors, tokenizer and preprocessor_config.json.
        dtype: Of the weights. What LoRA and the projector train stays fp32.
        any_resolution: Take an image's tiles as well as the whole of it.
        quantize: `4bit` packs the frozen language model for QLoRA; it can't be trained itself then.
        weights: Load the weights; a model folder brings its own.

    Raises:
        InputError: another architecture; weights missing, left over or misshapen; no image token in the tokenizer; a
            processor of another image size; bitsandbytes is asked for and absent.
    """

    def __init__(
        self,
        path: str | Path = "llava-hf/llava-v1.6-mistral-7b-hf",
        *,
        dtype: DType = "float32",
        any_resolution: bool = False,
        quantize: Quantization | None = None,
        weights: bool = True,
    ) -> None:
        super().__init__()
        self.from_checkpoint = weights
        self._source: dict[str, Any] = {"path": str(path), "dtype": dtype, "any_resolution": any_resolution}
        self.config = llava_config(path)
        model: Any = without_weights(lambda: llava_model(self.config), DTYPES[dtype])
        self._take_parts(model)
        if weights:
            load_strictly(self, path, unused=(r"^lm_head\.",))
            self._quantize(quantize)
        self._take_inputs(path, any_resolution)

    def projector(self) -> nn.Module:
        """Return the two-layer projector."""
        return self.multi_modal_projector

    def vision(self, features: Features) -> Tensor:
        """Return features [tiles, patches, Dv] of the layer that the configuration names, without the class token."""
        groups = features["pixels"].split(TILES_AT_ONCE)
        return torch.cat([self._tower(group) for group in groups])

    def project(self, vision: Tensor, features: Features) -> Tensor:
        """Return image tokens: each picture's vectors, the newline vector after them (and after each row of tiles)."""
        projected = self.multi_modal_projector(vision.to(self.multi_modal_projector.linear_1.weight.dtype))
        parts = features["image_parts"].tolist()
        if all(count == 1 for count in parts):
            newline = self.image_newline.to(projected.dtype).expand(len(projected), 1, -1)
            return torch.cat([projected, newline], dim=1).flatten(0, 1)
        packed, _ = self._packer(projected.split(parts), features["image_size"].tolist())
        return torch.cat(packed)

    def init_args(self, folder: Path) -> dict[str, Any]:
        """Copy config, tokenizer and processor into `folder`."""
        copy_side_files(self._source["path"], folder / SOURCE_FOLDER)
        kept = {name: value for name, value in self._source.items() if name != "quantize"}
        return {**kept, "path": SOURCE_FOLDER, "weights": False}

    def source_args(self) -> dict[str, Any]:
        """Return the arguments that this was built with."""
        return dict(self._source)

    def _quantize(self, how: Quantization | None) -> None:
        if how is not None:
            self._source["quantize"] = how
            quantize_linears(self.language_model, DTYPES[self._source["dtype"]])

    def _take_parts(self, model: Any) -> None:
        self.vision_tower = model.vision_tower
        self.multi_modal_projector = model.multi_modal_projector
        self.image_newline = model.image_newline
        self.language_model = model.language_model
        self._pack = type(model).pack_image_features

    def _take_inputs(self, path: str | Path, any_resolution: bool) -> None:
        text, vision = self.config.text_config, self.config.vision_config
        self.width = int(text.hidden_size)
        self.tokenizer = with_own_rules(fast_tokenizer(path), path)
        token = image_token(self.config, self.tokenizer, path)
        grids = self.config.image_grid_pinpoints
        images = image_input(path, vision, token, any_resolution=any_resolution, grids=grids)
        self.images = images
        self.most_image_tokens = images.most_tokens
        refuse_sliding_window(text, images.most_tokens + 512, path)
        self.register_buffer("pixel_mean", torch.tensor(images.mean), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(images.std), persistent=False)

    def _tower(self, pixels: Tensor) -> Tensor:
        tower = getattr(self.vision_tower, "vision_model", self.vision_tower)
        count = len(tower.encoder.layers)
        layer = self.config.vision_feature_layer
        values = normalised(pixels, self.pixel_mean, self.pixel_std)  # type: ignore[arg-type]
        hidden = tower.pre_layrnorm(tower.embeddings(values.to(tower.embeddings.patch_embedding.weight.dtype)))
        for block in tower.encoder.layers[: layer if layer >= 0 else count + 1 + layer]:
            hidden = block(hidden, attention_mask=None)
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        return hidden[:, 1:]

    def _packer(self, images: Any, sizes: list[list[int]]) -> Any:
        return self._pack(
            self, images, sizes, self.config.vision_feature_select_strategy, image_newline=self.image_newline
        )


def llava_config(path: str | Path) -> Any:
    """Read the configuration of a LLaVA-Next checkpoint; InputError for another architecture."""
    from transformers import LlavaNextConfig

    raw = config_of(path)
    if raw.get("model_type") != "llava_next":
        problem = f"is of the architecture {raw.get('model_type')!r}, not llava_next"
        raise InputError(problem, file=path, fix="take the backbone class of that architecture")
    for name in ("vision_config", "text_config"):
        sub_config(raw, name, path)
    config = LlavaNextConfig.from_dict(raw)
    if not isinstance(config.vision_feature_layer, int):
        fix = "take a checkpoint with one vision_feature_layer"
        raise InputError(f"mixes the vision layers {config.vision_feature_layer}", file=path, fix=fix)
    if config.vision_feature_select_strategy != "default":
        fix = 'take a checkpoint with vision_feature_select_strategy "default"'
        raise InputError("keeps the class token among an image's vectors", file=path, fix=fix)
    return config


def image_token(config: Any, tokenizer: Any, path: str | Path, spelled: str = "<image>") -> int:
    """Return the id of the image token; the tokenizer and the configuration must agree on it."""
    token = tokenizer.convert_tokens_to_ids(spelled)
    if token is None or token == tokenizer.unk_token_id:
        raise InputError(f"the tokenizer has no token {spelled}", file=path, fix="take the model's own tokenizer")
    expected = config.image_token_id
    if token != expected:
        problem = f"the tokenizer's {spelled} is {token}, config.json says {expected}"
        raise InputError(problem, file=path, fix="take the model's own tokenizer")
    return int(token)


def copy_side_files(source: str | Path, folder: Path) -> None:
    """Copy what a backbone reads beside its weights."""
    origin = local_folder(source)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", *SIDE_FILES):
        if (origin / name).exists():
            shutil.copyfile(origin / name, folder / name)


def llava_model(config: Any) -> Any:
    """Build a `LlavaNextModel` whose language model keeps packed rows apart."""
    from transformers import LlavaNextModel

    register()
    config.text_config._attn_implementation = PACKED
    config.vision_config._attn_implementation = "sdpa"
    model = LlavaNextModel(config)
    model.language_model.config._attn_implementation = PACKED
    return model
