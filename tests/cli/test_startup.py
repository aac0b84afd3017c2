"""Asking for help costs no framework: what is heavy is imported by the stage that needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lit_mmembed.cli.commands import STAGES

HEAVY = ("torch", "lightning", "transformers", "open_clip", "wandb", "faiss", "webdataset", "pyarrow", "numpy")
LOADED = f"import sys; print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
HELP = f"""
from lit_mmembed.__main__ import main
try:
    main()
finally:
    {LOADED}
"""


def loaded_by(program, *arguments):
    """Return (what the program printed, which heavy modules it left loaded)."""
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True)
    return done.stdout, done.stderr.split()


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by(f"import lit_mmembed; {LOADED}") == ("", [])


def test_the_list_of_stages_loads_nothing_heavy():
    printed, heavy = loaded_by(HELP, "--help")
    assert heavy == [] and all(stage in printed for stage in STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_the_help_of_a_stage_loads_nothing_heavy(stage):
    printed, heavy = loaded_by(HELP, stage, "--help")
    assert heavy == [] and f"mmembed {stage}" in printed
