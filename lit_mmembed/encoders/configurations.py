"""The config.json of a checkpoint without a download: a folder's, or the shipped one of a released name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def of_type(source: str | Path, expected: str) -> dict[str, Any]:
    """Return a configuration; InputError where it is of another type."""
    config = architecture(source)
    if config.get("model_type") != expected:
        problem = f"is of the architecture {config.get('model_type')!r}, not {expected}"
        raise InputError(problem, file=source, fix="take the backbone class of that architecture")
    return config


def part_of(config: Mapping[str, Any], name: str, source: str | Path) -> dict[str, Any]:
    """Return a part of a configuration, sizes that it leaves out filled in; InputError where it lacks it."""
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
