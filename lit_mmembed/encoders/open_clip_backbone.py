"""CLIP towers from open_clip: a released architecture and weights, or a small one from a JSON config."""

from __future__ import annotations

import math
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from lit_mmembed.encoders import pooled_towers
from lit_mmembed.encoders.clip_fusion import ClipBackbone
from lit_mmembed.encoders.images import CLIP_MEAN, CLIP_STD, ImageTransform
from lit_mmembed.encoders.tokenizer import BpeTokenizer, ClipTokenizer, OpenClipHfTokenizer, Tokenizer
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json, write_json

CONFIG_FILE = "open_clip.json"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_FOLDER = "tokenizer"


class OpenClipBackbone(ClipBackbone):
    """Any open_clip model, fp32. Give either `architecture` or `config`.

    Weights from scratch are drawn from torch's global generator: seed it (`seed_everything`) before.

    Args:
        architecture: A name of `open_clip.list_models()`, e.g. ViT-L-14.
        pretrained: A tag of `open_clip.list_pretrained()` (downloaded), or a local checkpoint file.
        config: An open_clip model config in JSON. Two keys are ours: `stem`, convolutions as [channels, stride]
            in the place of the patch embedding (a small tower learns faster with them), and `image`, fields of
            `ImageTransform`.
        tokenizer: A `tokenizer.json` from `train_tokenizer`, or a folder with a Hugging Face tokenizer. Without it, the
            one that the architecture names.
        image_mode: `exact` as the released models were trained, or `fast`; see `ImageTransform`.
    """

    def __init__(
        self,
        architecture: str | None = None,
        pretrained: str | None = None,
        *,
        config: Path | None = None,
        tokenizer: Path | None = None,
        image_mode: Literal["exact", "fast"] = "exact",
    ) -> None:
        super().__init__()
        self.config = _resolve(architecture, pretrained, config)
        self.tokenizer = _tokenizer(self.config["text_cfg"], tokenizer)
        self.model: Any = _build(self.config)
        if pretrained is not None:
            _load(self.model, architecture, pretrained)
        self.dimension = int(self.config["embed_dim"])
        self.images = ImageTransform(size=_image_size(self.model), mode=image_mode, **self.config["image"])
        self.patches = _patches(self.model)
        # open_clip's own temperature is no part of the encoder: InfoNCE has one. Kept, since checkpoints bring it.
        for name, parameter in self.model.named_parameters():
            if name in ("logit_scale", "logit_bias"):
                parameter.requires_grad_(False)
        self._plain_text = pooled_towers.has_plain_text_tower(self.model)
        self._plain_image = pooled_towers.has_plain_image_tower(self.model)
        self.tokenizer.fixed_length = not self._plain_text

    def encode_text(self, tokens_BL: Tensor) -> Tensor:
        """Return text vectors [B, dimension]; a causal tower needs no padding to the context length."""
        if self._plain_text:
            return pooled_towers.encode_text(self.model, tokens_BL)
        return self.model.encode_text(tokens_BL)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return image vectors [B, dimension]."""
        if self._plain_image:
            return pooled_towers.encode_image(self.model, pixels)
        return self.model.encode_image(pixels)

    def text_parameters(self) -> list[nn.Parameter]:
        """Return everything but the vision tower."""
        return [parameter for name, parameter in self.model.named_parameters() if not name.startswith("visual.")]

    def image_parameters(self) -> list[nn.Parameter]:
        """Return the vision tower."""
        return list(self.model.visual.parameters())

    def init_args(self, folder: Path) -> dict[str, Any]:
        """Write config and tokenizer into `folder` and name them."""
        write_json(folder / CONFIG_FILE, self.config)
        arguments = {"config": CONFIG_FILE, "image_mode": self.images.mode}
        if isinstance(self.tokenizer, BpeTokenizer):
            self.tokenizer.save(folder / TOKENIZER_FILE)
            arguments["tokenizer"] = TOKENIZER_FILE
        elif isinstance(self.tokenizer, OpenClipHfTokenizer):
            self.tokenizer.save(folder / TOKENIZER_FOLDER)
            arguments["tokenizer"] = TOKENIZER_FOLDER
        return arguments


def _resolve(architecture: str | None, pretrained: str | None, config: Path | None) -> dict[str, Any]:
    """Return open_clip's config with our two keys filled in."""
    import open_clip

    if (architecture is None) == (config is None):
        raise InputError("the backbone needs either an architecture or a config", fix="give one of the two")
    resolved = deepcopy(open_clip.get_model_config(architecture) if architecture else read_json(config or ""))
    if resolved is None:
        raise InputError(f"open_clip has no architecture {architecture!r}", fix="see open_clip.list_models()")
    if missing := {"embed_dim", "vision_cfg", "text_cfg"} - resolved.keys():
        raise InputError(f"lacks {', '.join(sorted(missing))}", file=config, fix="write open_clip's model config")
    released = open_clip.get_pretrained_cfg(architecture, pretrained) if architecture and pretrained else {}
    if "quick_gelu" in released:
        resolved["quick_gelu"] = released["quick_gelu"]
    image = {
        "mean": released.get("mean", CLIP_MEAN),
        "std": released.get("std", CLIP_STD),
        "resize": released.get("resize_mode", "shortest"),
        "interpolation": released.get("interpolation", "bicubic"),
    }
    resolved["image"] = {key: _frozen(value) for key, value in {**image, **resolved.get("image", {})}.items()}
    return resolved


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _build(config: dict[str, Any]) -> nn.Module:
    from open_clip.model import CLIP, CustomTextCLIP

    own = {"image", "stem", "custom_text"}
    arguments = {key: value for key, value in config.items() if key not in own}
    custom = config.get("custom_text", False) or "hf_model_name" in config["text_cfg"]
    if "multimodal_cfg" in config:
        raise InputError("a CoCa model is no two-tower model", fix="choose a CLIP architecture")
    model = (CustomTextCLIP if custom else CLIP)(**arguments)
    if stem := config.get("stem"):
        model.visual.conv1 = _stem(stem, config["vision_cfg"])
    return model


def _stem(steps: list[tuple[int, int]], vision: dict[str, Any]) -> nn.Sequential:
    """Return convolutions, one for each (channels, stride), that end with the grid of the patch embedding replaced."""
    total = math.prod(stride for _, stride in steps)
    if total != vision["patch_size"]:
        fix = "choose strides whose product is the patch size"
        raise InputError(f"the stem's strides make {total}, the patch size is {vision['patch_size']}", fix=fix)
    layers: list[nn.Module] = []
    before = 3
    for channels, stride in steps:
        kernel, padding = (3, 1) if stride <= 2 else (stride, 0)
        layers += [nn.Conv2d(before, channels, kernel, stride, padding, bias=False)]
        layers += [nn.GroupNorm(1, channels), nn.GELU()]  # no batch norm: a row's vector must not depend on the others
        before = channels
    return nn.Sequential(*layers, nn.Conv2d(before, vision["width"], 1, bias=False))


def _load(model: nn.Module, architecture: str | None, pretrained: str) -> None:
    import open_clip

    path = Path(pretrained)
    if not path.exists():
        released = open_clip.get_pretrained_cfg(architecture or "", pretrained)
        if not released:
            raise InputError(
                f"no file, and no pretrained tag of {architecture}",
                file=pretrained,
                fix="see open_clip.list_pretrained(), or give a checkpoint file",
            )
        path = Path(open_clip.download_pretrained(released))
    open_clip.load_checkpoint(model, str(path))


def _tokenizer(text: dict[str, Any], path: Path | None) -> Tokenizer:
    context = int(text.get("context_length", 77))
    if path is not None and not Path(path).is_dir():
        own = BpeTokenizer(path, context)
        if own.vocab_size > text.get("vocab_size", 49408):
            raise InputError(
                f"has {own.vocab_size} tokens, the model's vocab_size is {text.get('vocab_size')}",
                file=path,
                fix="train a smaller tokenizer or enlarge vocab_size",
            )
        return own
    name = str(path) if path is not None else text.get("hf_tokenizer_name")
    if name:
        return OpenClipHfTokenizer(name, context, **(text.get("tokenizer_kwargs") or {}))
    return ClipTokenizer(context)


def _image_size(model: Any) -> int:
    size = model.visual.image_size
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    if height != width:
        raise InputError(f"images of {height} x {width} are not square", fix="choose a square architecture")
    return int(height)


def _patches(model: Any) -> int:
    grid = getattr(model.visual, "grid_size", None)
    return grid[0] * grid[1] if grid else 49
