"""From a checkpoint's config.json to the parts of `costs`: no weights, no transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from lit_mmembed.encoders.configurations import architecture, of_type, part_of
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


def llava(source: str | Path, *, attention: str) -> dict[str, Part]:
    """Return vision tower, projector and language model of a LLaVA-Next checkpoint."""
    config = of_type(source, "llava_next")
    vision, text = part_of(config, "vision_config", source), part_of(config, "text_config", source)
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


class Inputs(NamedTuple):
    """What two towers take."""

    size: int
    """Pixels of an image's side."""
    patches: int
    """Of an image, the class token not counted."""
    context: int = 0
    """Tokens of a text at most, where a text tower sets it."""


def image_tower(source: str | Path) -> Inputs:
    """Return what the vision tower of a LLaVA-Next checkpoint takes: one tile."""
    vision = part_of(of_type(source, "llava_next"), "vision_config", source)
    return Inputs(vision["image_size"], _patches(vision))


def nv_embed(source: str | Path, *, attention: str) -> dict[str, Part]:
    """Return the language model and the latent attention of NV-Embed, which is the pooling where one asks for it."""
    config = architecture(source)
    text = part_of(config if "text_config" in config else {"text_config": config}, "text_config", source)
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


def qwen2_vl(source: str | Path, *, attention: str) -> dict[str, Part]:
    """Return vision tower, merger ("projector") and language model of a Qwen2-VL checkpoint."""
    config = of_type(source, "qwen2_vl")
    vision, text = config["vision_config"], config.get("text_config") or config
    width = vision["embed_dim"]
    blocks = plain_blocks(vision["depth"], width, vision["num_heads"], width * vision.get("mlp_ratio", 4), causal=False)
    patch = 3 * vision.get("temporal_patch_size", 2) * vision.get("patch_size", 14) ** 2
    merged, out = width * vision.get("spatial_merge_size", 2) ** 2, text["hidden_size"]
    body = _language_model(text, attention)
    assert body.blocks is not None
    biases = (body.blocks.heads + 2 * body.blocks.kv_heads) * body.blocks.head_width  # of queries, keys and values
    parts = (
        Part("vision tower", "patches", blocks, matrices=patch * width),
        Part(
            "projector", "image_tokens", matrices=merged * (merged + out), other=merged + out + 2 * width,
            values=4 * merged,
        ),
        replace(body, blocks=replace(body.blocks, vectors=body.blocks.vectors + biases)),
    )  # fmt: skip
    return {part.name: part for part in parts}


def qwen2_vl_patches(source: str | Path, pixels: int) -> tuple[int, int]:
    """Return how many patches an image of so many pixels has, and how many of them become one token."""
    vision = of_type(source, "qwen2_vl")["vision_config"]
    return pixels // vision.get("patch_size", 14) ** 2, vision.get("spatial_merge_size", 2) ** 2


def clip(source: str | Path) -> tuple[dict[str, Part], int, Inputs]:
    """Return the towers (with projections) of a transformers CLIP, the width of its vectors, and what they take."""
    config = of_type(source, "clip")
    vision, text = part_of(config, "vision_config", source), part_of(config, "text_config", source)
    dimension = int(config.get("projection_dim", 512))
    inputs = Inputs(vision["image_size"], _patches(vision), text["max_position_embeddings"])
    blocks = _plain(text, causal=True)
    text_tower = clip_text(blocks, vocabulary=text["vocab_size"], context=text["max_position_embeddings"])
    return _two_towers(_vision_tower(vision), text_tower, dimension), dimension, inputs


def open_clip(arguments: Mapping[str, Any]) -> tuple[dict[str, Part], int, Inputs]:
    """Return the towers (with projections) of an open_clip model, the width of its vectors, and what they take.

    Args:
        arguments: `OpenClipBackbone`'s: `architecture`, or a `config` file.

    Raises:
        InputError: towers that are not open_clip's own transformers.
    """
    file = _open_clip_file(arguments)
    config = read_json(file)
    vision = {
        "layers": 12,
        "width": 768,
        "head_width": 64,
        "mlp_ratio": 4,
        "patch_size": 16,
        "image_size": 224,
        **config["vision_cfg"],
    }
    text = {"layers": 12, "width": 512, "heads": 8, "mlp_ratio": 4, "context_length": 77, **config["text_cfg"]}
    if "timm_model_name" in vision or "hf_model_name" in text or not isinstance(vision["layers"], int):
        raise InputError("has a tower that is not open_clip's own", file=file, fix="plan with a ViT architecture")
    width = vision["width"]
    tower = clip_vision(
        plain_blocks(
            vision["layers"], width, width // vision["head_width"], int(width * vision["mlp_ratio"]), causal=False
        ),
        patch=vision["patch_size"],
        patches=_patches(vision),
        stem=_stem_weights(config["stem"], width) if "stem" in config else None,
    )
    width = text["width"]
    blocks = plain_blocks(text["layers"], width, text["heads"], int(width * text["mlp_ratio"]), causal=True)
    text_tower = clip_text(blocks, vocabulary=text.get("vocab_size", 49408), context=text["context_length"])
    inputs = Inputs(vision["image_size"], _patches(vision), text["context_length"])
    return _two_towers(tower, text_tower, config["embed_dim"]), int(config["embed_dim"]), inputs


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
