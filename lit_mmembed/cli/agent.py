"""Where a run keeps its files when `wandb agent` started it: each trial of a sweep needs a folder of its own.

The agent fills `${envvar:WANDB_RUN_ID}` in before it sets that variable for the new run, so a sweep's command cannot
name the folder; the environment of the started run can. Nothing is imported but `os`.
"""

from __future__ import annotations

import os
from pathlib import Path

SWEEPS = Path("runs/sweeps")


def agent_folder(otherwise: str) -> Path:
    """Return runs/sweeps/SWEEP/RUN under `wandb agent`, `otherwise` in any other process."""
    sweep, run = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    return SWEEPS / sweep / run if sweep and run else Path(otherwise)
