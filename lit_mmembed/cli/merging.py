"""`mmembed merge`: a trained model whose adapters lie beside their checkpoint, in one piece."""

from __future__ import annotations

import argparse

from lit_mmembed.encoders.exporting import merge_adapters, save_checkpoint
from lit_mmembed.encoders.pretrained import RECORD_FILE, load_encoder, save_encoder
from lit_mmembed.files import read_json


def merge(flags: argparse.Namespace) -> None:
    """Merge the adapters of a model folder and write it whole, or as a checkpoint of the backbone's own layout."""
    encoder = merge_adapters(load_encoder(flags.model, allow=tuple(flags.allow_imports)))
    if flags.checkpoint:
        save_checkpoint(encoder, flags.out)
    else:
        save_encoder(encoder, flags.out, record=read_json(flags.model / RECORD_FILE))
    print(flags.out)
