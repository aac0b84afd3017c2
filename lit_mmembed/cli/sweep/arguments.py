"""The flags of `mmembed sweep`. Only argparse is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

from lit_mmembed.cli.model_arguments import stage as _stage


def sweep(stages: argparse._SubParsersAction) -> None:
    """`mmembed sweep`."""
    stage = _stage(stages, "sweep", "Run a W&B sweep file without a server. A killed sweep goes on where it was.")
    stage.add_argument("file", type=Path, help="W&B's own format, e.g. experiments/sweeps/temperature.yaml")
    stage.add_argument("--out", type=Path, help="folder of the sweep (default: runs/sweeps/NAME_OF_THE_FILE)")
    stage.add_argument("--workers", type=int, default=1, help="trials at a time; with GPUs, each has one")
    stage.add_argument("--count", type=int, help="trials in all (default: the file's run_cap, or the whole grid)")
    stage.add_argument("--seed", type=int, default=0, help="seed of what random and bayes propose")
