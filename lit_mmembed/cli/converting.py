"""`mmembed convert`: released checkpoints as model folders, which every other command takes."""

from __future__ import annotations

import argparse

from lit_mmembed.encoders.clip_fusion import ClipFusion
from lit_mmembed.encoders.open_clip_backbone import OpenClipBackbone
from lit_mmembed.encoders.pretrained import save_encoder
from lit_mmembed.encoders.uniir import load_uniir
from lit_mmembed.files import file_hash
from lit_mmembed.record import run_record


def convert(flags: argparse.Namespace) -> None:
    """Turn UniIR's CLIP_SF checkpoint into a model folder; every tensor must find its place."""
    architecture = None if flags.config else flags.architecture
    encoder = ClipFusion(OpenClipBackbone(architecture, config=flags.config, tokenizer=flags.tokenizer))
    load_uniir(encoder, flags.uniir)
    save_encoder(encoder, flags.out, record=run_record(source="UniIR", checkpoint_hash=file_hash(flags.uniir)))
    print(flags.out)
