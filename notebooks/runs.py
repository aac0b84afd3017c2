"""Which run folder a notebook reads: the study's if it is there, else a small run that is made on the spot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lit_mmembed import Results
from lit_mmembed.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
SMOKE_RECIPE = Path("notebooks/smoke.yaml")
SMOKE_SEEDS = (0, 1)
IS_SMOKE = os.environ.get("MMEMBED_NOTEBOOKS") == "smoke"
"""Read nothing but the small run: what CI does."""
RUNS = ROOT / os.environ.get("MMEMBED_RUNS", "runs")
"""Where run folders lie; a relative path begins at the repository."""
SMOKE_RUNS = ROOT / "runs"


def open_results(*names: str, command: str) -> Results:
    """Open the first run folder of these names that has results; without one, make and open the small run.

    Args:
        names: Folders in RUNS, the most wanted first.
        command: What makes them, to tell the reader.
    """
    for name in () if IS_SMOKE else names:
        try:
            return _told(Results(RUNS / name))
        except InputError:
            continue
    reason = "MMEMBED_NOTEBOOKS=smoke" if IS_SMOKE else f"no {' or '.join(names)} among the run folders"
    print(f"Small run ({reason}): a dozen steps, which show that everything works and nothing else.")
    print(f"For the real one: `{command}`, then run this notebook again.")
    return _told(small_results())


def small_results() -> Results:
    """Open the small run, made now if it is not there (2 minutes)."""
    for seed in SMOKE_SEEDS:
        mmembed("run", SMOKE_RECIPE, "--seed", seed, "--out", SMOKE_RUNS.relative_to(ROOT))
    return Results(SMOKE_RUNS / "emoji_notebooks")


def is_small(results: Results) -> bool:
    """Whether these are the small run's, which no figure is kept of."""
    return results.name == "emoji_notebooks"


def mmembed(*arguments: object) -> str:
    """Run `mmembed` in the repository's root, as a shell would, and return what it printed."""
    offline = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lit_mmembed", *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, **offline}, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"mmembed {' '.join(command[3:])}\n{ended.stderr[-2000:]}")
    return ended.stdout


def _told(results: Results) -> Results:
    seeds = sorted({seed for system in results.systems for seed in system["seeds"]})
    print(f"{results.name}: {len(results.systems)} systems, seeds {', '.join(map(str, seeds))}")
    return results
