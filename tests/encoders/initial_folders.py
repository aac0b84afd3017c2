"""Random checkpoints so small that a test makes them in a moment, by `write_initial`."""

from __future__ import annotations

import json
from pathlib import Path

from lit_mmembed.encoders.initial import Kind, write_initial
from lit_mmembed.encoders.llm_tokenizer import prompt_wordings, train_llm_tokenizer
from tests.encoders.small import TEXTS

TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "intermediate_size": 24,
    "max_position_embeddings": 128,
    "sliding_window": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}
VISION = {
    "image_size": 16,
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "projection_dim": 8,
}
CLIP_TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 24,
    "projection_dim": 8,
}
LATENT = {"num_latents_value": 3, "num_cross_heads": 2, "cross_dim_head": 8, "hidden_dim": 16, "latent_dim": 16}
CONFIGS: dict[str, dict] = {
    "clip": {"projection_dim": 8, "text_config": CLIP_TEXT, "vision_config": VISION},
    "llava_next": {"text_config": TEXT, "vision_config": VISION, "vision_feature_layer": -2},
    "nv_embed": {"text_config": TEXT, "latent_attention_config": LATENT},
}


def tokenizer_folder(folder: Path, texts: list[str] = TEXTS) -> Path:
    path = folder / "llm_tokenizer"
    if not path.exists():
        train_llm_tokenizer([*texts, *prompt_wordings()], path, vocab_size=500)
    return path


def config_of(kind: Kind, folder: Path, **changes: object) -> Path:
    path = folder / f"{kind}.json"
    path.write_text(json.dumps({**CONFIGS[kind], **changes}))
    return path


def checkpoint(kind: Kind, folder: Path, name: str = "", **options: object) -> Path:
    """Make a checkpoint of a kind in `folder`; the same call makes the same bytes."""
    return write_initial(
        kind,
        config=config_of(kind, folder),
        tokenizer=tokenizer_folder(folder),
        out=folder / (name or kind),
        **options,  # type: ignore[arg-type]
    )
