"""What a plan knows of the encoder that a YAML names: its parts, what is trained, precisions, how long a row is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lit_mmembed.encoders import shapes
from lit_mmembed.encoders.costs import Part, Rows, adapters, latent_attention
from lit_mmembed.errors import InputError
from lit_mmembed.training.workload import Kind
from lit_mmembed.types import Side

HALF, FULL = 2, 4
"""Bytes of a value."""
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TILES = 5
"""Of an image at any resolution: the whole picture and two by two."""
ORDER = {"vision tower": 0, "text tower": 0, "projector": 1, "language model": 2, "adapters": 2, "pooling": 3}
"""Where a part stands on the way of the data: a gradient on its way to a trained part passes all later ones."""


@dataclass(frozen=True)
class PlannedEncoder:
    """An encoder as far as a plan needs it."""

    parts: dict[str, Part]
    dimension: int
    trained: frozenset[str]
    """Names of the parts whose weights are updated."""
    frozen_bytes: int
    """Of a weight of the backbone that is not trained."""
    limit: dict[Side, int]
    """Text tokens of a row at most; an image counts one where it is part of the prompt."""
    image_tokens: int = 0
    """Tokens of an image in the language model."""
    patches: int = 0
    """Tokens of a tile in the vision tower."""
    tiles: int = 1
    pixel_bytes: int = 0
    """Of an image as it lies in a batch."""
    checkpointing: bool = False
    own: frozenset[str] | None = None
    """Names of the parts that a model folder keeps beside the name of its checkpoint; None: it keeps all."""

    @property
    def can_checkpoint(self) -> bool:
        """Say whether there is a language model, whose layers may be computed again."""
        return "language model" in self.parts

    def stored_bytes(self, name: str) -> int:
        """Return the bytes of a part's weight where it is not trained: a pooling is fp32 whatever the backbone is."""
        return FULL if name == "pooling" else self.frozen_bytes

    def rows(self, part: Part, kinds: tuple[Kind, ...]) -> list[Rows]:
        """Return what a part reads of these rows."""
        images = sum(kind.count * kind.images for kind in kinds)
        if part.reads == "patches":
            return [Rows(images * self.tiles, self.patches)]
        if part.reads == "image_tokens":
            return [Rows(images, self.image_tokens)]
        lengths = [(kind, self.length(kind) if part.reads == "tokens" else self.text(kind)) for kind in kinds]
        return [Rows(kind.count, length) for kind, length in lengths if length]

    def text(self, kind: Kind) -> int:
        """Return the text tokens of a row that stay."""
        placeholder = kind.images if self.image_tokens else 0
        return min(kind.text_tokens, self.limit[kind.side] - placeholder)

    def length(self, kind: Kind) -> int:
        """Return the tokens of a row, images expanded."""
        image = self.image_tokens or self.patches * self.tiles
        return self.text(kind) + kind.images * image

    def passes_gradient(self, part: Part) -> bool:
        """Say whether a gradient goes through a part: it is trained, or something before it is."""
        return any(ORDER[name] <= ORDER[part.name] for name in self.trained)


def planned_encoder(encoder: Mapping[str, Any]) -> PlannedEncoder:
    """Read the encoder of a configuration.

    Args:
        encoder: {class_path, init_args}.

    Raises:
        InputError: its shapes are not known.
    """
    readers: dict[str, Callable[[Mapping[str, Any]], PlannedEncoder]] = {"MllmEncoder": _mllm, "ClipFusion": _clip}
    return _chosen(readers, encoder)(encoder.get("init_args") or {})


def _mllm(arguments: Mapping[str, Any]) -> PlannedEncoder:
    backbone = arguments.get("backbone") or {}
    attention = arguments.get("attention", "causal")
    readers = {
        "LlavaNextBackbone": _llava,
        "NvEmbedLlavaBackbone": _nv_llava,
        "NvEmbedBackbone": _nv_text,
        "Qwen2VlBackbone": _qwen2_vl,
    }
    given = backbone.get("init_args") or {}
    parts, images = _chosen(readers, backbone)(given, attention)
    body = parts["language model"].blocks
    assert body is not None
    pooling = arguments.get("pooling") or {"class_path": "EosPooling"}
    if _name(pooling) == "LatentAttentionPooling":
        parts["pooling"] = _latent(pooling.get("init_args") or {}, body.width)
    named = set(arguments.get("trained") or ("lora", "projector"))
    if lora := arguments.get("lora"):
        parts["adapters"] = adapters(body, lora.get("r", 8), lora.get("targets", LINEAR))
    trained = {{"lora": "adapters", "language_model": "language model"}.get(name, name) for name in named}
    return PlannedEncoder(
        parts=parts,
        dimension=body.width,
        trained=frozenset(trained & parts.keys()),
        frozen_bytes=FULL if given.get("dtype", "float32") == "float32" else HALF,
        limit={
            Side.QUERY: arguments.get("query_length", 128),
            Side.CANDIDATE: arguments.get("candidate_length", 128),
        },
        checkpointing=bool(arguments.get("gradient_checkpointing")),
        own=_own(parts, frozenset(trained), pooling) if given.get("weights", True) else None,
        **images,
    )


def _own(parts: Mapping[str, Part], trained: frozenset[str], pooling: Mapping[str, Any]) -> frozenset[str]:
    """Name the parts that lie in a model folder: what is trained, adapters, and a pooling that no checkpoint has."""
    kept = {*trained, "adapters"}
    if not (pooling.get("init_args") or {}).get("checkpoint"):
        kept.add("pooling")
    return frozenset(kept & parts.keys())


def _clip(arguments: Mapping[str, Any]) -> PlannedEncoder:
    backbone = arguments.get("backbone") or {}
    given = backbone.get("init_args") or {}
    readers = {
        "HfClipBackbone": lambda: shapes.clip(given.get("name_or_path", "openai/clip-vit-large-patch14")),
        "OpenClipBackbone": lambda: shapes.open_clip(given),
    }
    parts, dimension, tower = _chosen(readers, backbone)()
    return PlannedEncoder(
        parts=parts,
        dimension=dimension,
        trained=frozenset(parts),
        frozen_bytes=FULL,
        limit=dict.fromkeys(Side, tower.context),
        patches=tower.patches + 1,
        pixel_bytes=3 * tower.size**2,
    )


def _llava(given: Mapping[str, Any], attention: str) -> tuple[dict[str, Part], dict[str, int]]:
    source = given.get("path", "llava-hf/llava-v1.6-mistral-7b-hf")
    return shapes.llava(source, attention=attention), _images(source, bool(given.get("any_resolution")))


def _nv_llava(given: Mapping[str, Any], attention: str) -> tuple[dict[str, Part], dict[str, int]]:
    source = given.get("llava", "llava-hf/llava-v1.6-mistral-7b-hf")
    body = shapes.nv_embed(given.get("nv_embed", "nvidia/NV-Embed-v1"), attention=attention)["language model"]
    return {**shapes.llava(source, attention=attention), body.name: body}, _images(source, False)


def _nv_text(given: Mapping[str, Any], attention: str) -> tuple[dict[str, Part], dict[str, int]]:
    body = shapes.nv_embed(given.get("path", "nvidia/NV-Embed-v1"), attention=attention)["language model"]
    return {body.name: body}, {}


def _qwen2_vl(given: Mapping[str, Any], attention: str) -> tuple[dict[str, Part], dict[str, int]]:
    """Every image is as large as it may be."""
    source, pixels = given.get("path", "Qwen/Qwen2-VL-2B-Instruct"), given.get("max_pixels", 256 * 28 * 28)
    patches, merged = shapes.qwen2_vl_patches(source, pixels)
    images = {"image_tokens": patches // merged, "patches": patches, "pixel_bytes": 3 * pixels}
    return shapes.qwen2_vl(source, attention=attention), images


def _images(source: str, any_resolution: bool) -> dict[str, int]:
    tower = shapes.image_tower(source)
    tiles = TILES if any_resolution else 1
    tokens = TILES * tower.patches if any_resolution else tower.patches + 1  # the newline's vector ends the picture
    return {
        "image_tokens": tokens, "patches": tower.patches + 1, "tiles": tiles, "pixel_bytes": tiles * 3 * tower.size**2
    }  # fmt: skip


def _latent(given: Mapping[str, Any], width: int) -> Part:
    own = given.get("width", width)
    head_width = given.get("head_width") or own
    return latent_attention(own, latents=given.get("latents", 512), heads=given.get("heads", 8), head_width=head_width)


def _chosen(readers: Mapping[str, Any], described: Mapping[str, Any]) -> Any:
    name = _name(described)
    if name not in readers:
        fix = f"one of {', '.join(readers)} can be planned"
        raise InputError(f"the shapes of {name or 'an encoder without class_path'} are not known", fix=fix)
    return readers[name]


def _name(described: Mapping[str, Any]) -> str:
    return str(described.get("class_path", "")).rpartition(".")[2]
