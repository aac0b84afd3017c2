"""From a checkpoint's config.json to the parts of `costs`: no weights, no transformers.

`architectures/` holds what the released names look like, so that a plan needs no download.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lit_mmembed.encoders.costs import (
    Blocks,
    Part,
    clip_text,
    clip_vision,
    decoder,
    latent_attention,
    plain_blocks,
    projector,
)
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json

ARCHITECTURES = Path(__file__).with_name("architectures")
_DECODER = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000}
DEFAULTS: dict[str, dict[str, int]] = {
    "mistral": {**_DECODER, "intermediate_size": 14336, "num_key_value_heads": 8},
    "bidir_mistral": {**_DECODER, "intermediate_size": 14336, "num_key_value_heads": 8},
    "llama": {**_DECODER, "intermediate_size": 11008},
    "clip_text_model": {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "max_position_embeddings": 77,
        "vocab_size": 49408,
    },
    "clip_vision_model": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 32,
    },
}
"""What a config.json that leaves a size out means by it (transformers' defaults)."""


def architecture(source: str | Path) -> dict[str, Any]:
    """Return the configuration of a checkpoint: its folder's config.json, or the shipped one of a released name.

    Raises:
        InputError: neither is there.
    """
    file = Path(source) / "config.json"
    if file.exists():
        return read_json(file)
    shipped = ARCHITECTURES / f"{str(source).replace('/', '--')}.json"
    if not shipped.exists():
        known = sorted(path.stem.replace("--", "/") for path in ARCHITECTURES.glob("*.json"))
        fix = f"give a folder with config.json, or one of {', '.join(known)}"
        raise InputError("the shapes of this checkpoint are not known", file=source, fix=fix)
    return read_json(shipped)


def llava(source: str | Path, *, attention: str) -> dict[str, Part]:
    """Return vision tower, projector and language model of a LLaVA-Next checkpoint."""
    config = _of_type(source, "llava_next")
    vision, text = _sub(config, "vision_config", source), _sub(config, "text_config", source)
    layer = int(config.get("vision_feature_layer", -2))
    tower = _vision_tower(vision)
    assert tower.blocks is not None
    blocks = replace(tower.blocks, unused=max(0, -1 - layer))
    parts = (
        replace(tower, blocks=blocks),
        projector(blocks.width, text["hidden_size"]),
        _language_model(text, attention),
    )
    return {part.name: part for part in parts}


def image_patches(source: str | Path) -> int:
    """Return the patches of a tile of a LLaVA-Next checkpoint, the class token not counted."""
    return _patches(_sub(_of_type(source, "llava_next"), "vision_config", source))


def nv_embed(source: str | Path, *, attention: str) -> dict[str, Part]:
    """Return the language model and the latent attention of NV-Embed, which is the pooling where one asks for it."""
    config = architecture(source)
    text = _sub(config if "text_config" in config else {"text_config": config}, "text_config", source)
    latent = {
        "num_latents_value": 512, "num_cross_heads": 8, "hidden_dim": 4096, "cross_dim_head": 4096,
        **config.get("latent_attention_config", {}),
    }  # fmt: skip
    pooling = latent_attention(
        latent["hidden_dim"],
        latents=latent["num_latents_value"],
        heads=latent["num_cross_heads"],
        head_width=latent["cross_dim_head"],
    )
    return {"language model": _language_model(text, attention), "pooling": pooling}


def clip(source: str | Path) -> tuple[dict[str, Part], int]:
    """Return the towers and projections of a transformers CLIP, and the width of its vectors."""
    config = _of_type(source, "clip")
    vision, text = _sub(config, "vision_config", source), _sub(config, "text_config", source)
    dimension = int(config.get("projection_dim", 512))
    blocks = _plain(text, causal=True)
    text_tower = clip_text(blocks, vocabulary=text["vocab_size"], context=text["max_position_embeddings"])
    return _two_towers(_vision_tower(vision), text_tower, dimension), dimension


def open_clip(arguments: Mapping[str, Any]) -> tuple[dict[str, Part], int]:
    """Return the towers and projections of an open_clip model, and the width of its vectors.

    Args:
        arguments: `OpenClipBackbone`'s: `architecture`, or a `config` file.

    Raises:
        InputError: towers that are not open_clip's own transformers.
    """
    file = _open_clip_file(arguments)
    config = read_json(file)
    vision = {"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4, "patch_size": 16, **config["vision_cfg"]}
    text = {"layers": 12, "width": 512, "heads": 8, "mlp_ratio": 4, "context_length": 77, **config["text_cfg"]}
    if "timm_model_name" in vision or "hf_model_name" in text or not isinstance(vision["layers"], int):
        raise InputError("has a tower that is not open_clip's own", file=file, fix="plan with a ViT architecture")
    width = vision["width"]
    tower = clip_vision(
        plain_blocks(
            vision["layers"], width, width // vision["head_width"], int(width * vision["mlp_ratio"]), causal=False
        ),
        patch=vision["patch_size"],
        patches=(vision.get("image_size", 224) // vision["patch_size"]) ** 2,
        stem=_stem_weights(config["stem"], width) if "stem" in config else None,
    )
    width = text["width"]
    blocks = plain_blocks(text["layers"], width, text["heads"], int(width * text["mlp_ratio"]), causal=True)
    text_tower = clip_text(blocks, vocabulary=text.get("vocab_size", 49408), context=text["context_length"])
    return _two_towers(tower, text_tower, config["embed_dim"]), int(config["embed_dim"])


def _two_towers(vision: Part, text: Part, dimension: int) -> dict[str, Part]:
    assert vision.blocks is not None and text.blocks is not None
    towers = (
        replace(vision, other=vision.other + vision.blocks.width * dimension),
        replace(text, other=text.other + text.blocks.width * dimension + 1),
    )
    return {part.name: part for part in towers}


def _open_clip_file(arguments: Mapping[str, Any]) -> Path:
    if arguments.get("config"):
        return Path(arguments["config"])
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise InputError("open_clip is not installed", fix="pip install open_clip_torch")
    file = Path(spec.origin).parent / "model_configs" / f"{arguments.get('architecture')}.json"
    if not file.exists():
        fix = "see open_clip.list_models()"
        raise InputError(f"open_clip has no architecture {arguments.get('architecture')!r}", fix=fix)
    return file


def _stem_weights(steps: list[tuple[int, int]], width: int) -> int:
    weights, before = 0, 3
    for channels, stride in steps:
        kernel = 3 if stride <= 2 else stride
        weights += kernel * kernel * before * channels + 2 * channels
        before = channels
    return weights + before * width


def _language_model(text: Mapping[str, Any], attention: str) -> Part:
    width, heads = text["hidden_size"], text["num_attention_heads"]
    kv_heads = text.get("num_key_value_heads") or heads
    head_width = text.get("head_dim") or width // heads
    own, shared = heads * head_width, kv_heads * head_width
    biases = own + 2 * shared + width if text.get("attention_bias") else 0
    biases += 2 * text["intermediate_size"] + width if text.get("mlp_bias") else 0
    return decoder(
        layers=text["num_hidden_layers"],
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        intermediate=text["intermediate_size"],
        vocabulary=text["vocab_size"],
        biases=biases,
        causal=attention == "causal",
    )


def _vision_tower(vision: Mapping[str, Any]) -> Part:
    return clip_vision(_plain(vision, causal=False), patch=vision["patch_size"], patches=_patches(vision))


def _patches(vision: Mapping[str, Any]) -> int:
    return (vision["image_size"] // vision["patch_size"]) ** 2


def _plain(config: Mapping[str, Any], *, causal: bool) -> Blocks:
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    return plain_blocks(layers, config["hidden_size"], heads, config["intermediate_size"], causal=causal)


def _of_type(source: str | Path, expected: str) -> dict[str, Any]:
    config = architecture(source)
    if config.get("model_type") != expected:
        problem = f"is of the architecture {config.get('model_type')!r}, not {expected}"
        raise InputError(problem, file=source, fix="take the backbone class of that architecture")
    return config


def _sub(config: Mapping[str, Any], name: str, source: str | Path) -> dict[str, Any]:
    part = config.get(name)
    if not isinstance(part, dict):
        raise InputError(f"config.json has no {name}", file=source, fix="give the whole configuration")
    default = "clip_vision_model" if name == "vision_config" else "mistral"
    kind = part.get(
        "model_type", "clip_text_model" if config.get("model_type") == "clip" and name == "text_config" else default
    )
    if kind not in DEFAULTS:
        raise InputError(
            f"{name} is of the type {kind!r}", file=source, fix=f"one of {', '.join(DEFAULTS)} can be planned"
        )
    return {**DEFAULTS[kind], **part}
