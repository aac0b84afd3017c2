"""How a recipe runs one stage: the flags it would be given on the command line, in this process or in its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lit_mmembed.cli import stages
from lit_mmembed.cli.commands import LIGHTNING
from lit_mmembed.cli.locking import HELD
from lit_mmembed.errors import InputError

RESUME_FILE = "resume.ckpt"
RESUMABLE = ("fit", "pretrain", "fit-reranker")
POSITIONAL = {"report": ("run_dir",), "compare": ("systems",)}


def execute(command: str, arguments: dict[str, Any], *, config: list[str], folder: Path, seed: int) -> None:
    """Run a stage to its end.

    Raises:
        InputError: the stage does not exist or failed.
    """
    if command in LIGHTNING:
        _run_lightning(lightning_flags(command, arguments, config=config, folder=folder, seed=seed))
        return
    if command not in stages.STAGES:
        raise InputError(f"there is no stage {command!r}", fix=f"one of {sorted({*stages.STAGES, *LIGHTNING})}")
    status = stages.main([command, *stage_flags(command, arguments)])
    if status:
        raise InputError(f"stage {command} ended with status {status}", file=folder, fix="see what it printed")


def stage_flags(command: str, arguments: dict[str, Any]) -> list[str]:
    """Turn {"k_prime": 45, "k": [1, 5]} into ["--k-prime", "45", "--k", "1", "5"]; null and false are left out."""
    flags = [str(item) for name in POSITIONAL.get(command, ()) for item in _listed(arguments[name])]
    for name, value in arguments.items():
        if value is None or value is False or name in POSITIONAL.get(command, ()):
            continue
        flags.append(f"--{name.replace('_', '-')}")
        if value is not True:
            flags += [str(item) for item in _listed(value)]
    return flags


def lightning_flags(
    command: str, arguments: dict[str, Any], *, config: list[str], folder: Path, seed: int
) -> list[str]:
    """The flags of LightningCLI, with the run folder, the seed and, where there is one, the resume point."""
    flags = [command]
    for file in config:
        flags += ["-c", file]
    flags += [f"--seed_everything={seed}", f"--folder={folder}"]
    flags += [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in arguments.items()]
    if command in RESUMABLE and (folder / RESUME_FILE).exists():
        flags.append(f"--ckpt_path={folder / RESUME_FILE}")
    return flags


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _run_lightning(flags: list[str]) -> None:
    import torch

    if torch.cuda.is_available():  # a process of its own: several devices, and the memory is given back
        command = [sys.executable, "-m", "lit_mmembed", *flags]
        status = subprocess.run(command, check=False, pass_fds=HELD).returncode
        if status:
            raise InputError(f"`mmembed {flags[0]}` ended with status {status}", fix="see what it printed")
        return
    from lit_mmembed.cli.lightning import main

    main(flags)
