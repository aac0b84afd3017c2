"""`mmembed convert`: released checkpoints as model folders, which every other command takes."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.pretrained import save_encoder
from lit_mmembed.errors import InputError
from lit_mmembed.files import file_hash
from lit_mmembed.record import run_record

SOURCES = ("uniir", "mm_embed", "nv_embed", "llava")


def convert(flags: argparse.Namespace) -> None:
    """Turn a released checkpoint into a model folder; every tensor must find its place."""
    made = {"uniir": _uniir, "mm_embed": _mm_embed, "nv_embed": _nv_embed, "llava": _llava}[_source(flags)]
    encoder, record = made(flags)
    with encoder as ready:
        save_encoder(ready, flags.out, record=run_record(**record))
    print(flags.out)


Made = tuple[AbstractContextManager[Encoder], dict[str, Any]]


def _source(flags: argparse.Namespace) -> str:
    given = [name for name in SOURCES if getattr(flags, name) is not None]
    if given == ["mm_embed", "nv_embed"]:
        return "mm_embed"
    if len(given) != 1:
        fix = f"give one of {', '.join(f'--{name}'.replace('_', '-') for name in SOURCES)}"
        raise InputError(f"`mmembed convert` takes one checkpoint, not {len(given)}", fix=fix)
    return given[0]


def _uniir(flags: argparse.Namespace) -> Made:
    from lit_mmembed.encoders.clip_fusion import ClipFusion
    from lit_mmembed.encoders.open_clip_backbone import OpenClipBackbone
    from lit_mmembed.encoders.uniir import load_uniir

    architecture = None if flags.config else flags.architecture
    encoder = ClipFusion(OpenClipBackbone(architecture, config=flags.config, tokenizer=flags.tokenizer))
    load_uniir(encoder, flags.uniir)
    return nullcontext(encoder), {"source": "UniIR", "checkpoint_hash": file_hash(flags.uniir)}


def _mm_embed(flags: argparse.Namespace) -> Made:
    from lit_mmembed.encoders.released import released_mm_embed

    made = released_mm_embed(flags.mm_embed, flags.nv_embed, dtype=flags.dtype)
    return made, {"source": "MM-Embed"}


def _nv_embed(flags: argparse.Namespace) -> Made:
    from lit_mmembed.encoders.released import released_nv_embed

    return nullcontext(released_nv_embed(flags.nv_embed, dtype=flags.dtype)), {"source": "NV-Embed-v1"}


def _llava(flags: argparse.Namespace) -> Made:
    from lit_mmembed.encoders.released import released_llava

    if flags.style is None:
        raise InputError("`mmembed convert --llava` needs --style", fix="eos, one_word or zero_shot")
    encoder = released_llava(flags.llava, flags.style, dtype=flags.dtype)
    return nullcontext(encoder), {"source": "LLaVA-Next", "style": flags.style}
