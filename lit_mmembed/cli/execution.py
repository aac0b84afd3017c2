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
from lit_mmembed.cli.planning.configs import MANIFEST, merged_config
from lit_mmembed.errors import InputError
from lit_mmembed.files import find_again

RESUME_FILE = "resume.ckpt"
RESUMABLE = ("fit", "pretrain", "fit-reranker")
POSITIONAL = {"report": ("run_dir",), "compare": ("systems",)}


def execute(command: str, arguments: dict[str, Any], *, config: list[str], folder: Path, seed: int) -> None:
    """Run a stage to its end.

    Raises:
        InputError: the stage does not exist or failed.
    """
    if command in LIGHTNING:
        flags = lightning_flags(command, arguments, config=config, folder=folder, seed=seed)
        _run_lightning(flags, alone=_is_one_process(config, arguments))
        return
    if command not in stages.STAGES:
        raise InputError(f"there is no stage {command!r}", fix=f"one of {sorted({*stages.STAGES, *LIGHTNING})}")
    if command == "shard" and _is_sharded(arguments, folder):
        return
    status = stages.main([command, *stage_flags(command, arguments)])
    if status:
        raise InputError(f"stage {command} ended with status {status}", file=folder, fix="see what it printed")


def stage_flags(command: str, arguments: dict[str, Any]) -> list[str]:
    """Turn {"k_prime": 45, "k": [1, 5]} into ["--k-prime", "45", "--k", "1", "5"]; null and false are left out."""
    flags = [str(item) for name in POSITIONAL.get(command, ()) for item in _listed(arguments.get(name, []))]
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
    find_again(folder / RESUME_FILE)
    if command in RESUMABLE and (folder / RESUME_FILE).exists():
        flags.append(f"--ckpt_path={folder / RESUME_FILE}")
    return flags


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_sharded(arguments: dict[str, Any], folder: Path) -> bool:
    """Whether a killed run has sharded all before it could say so: a data directory appears at once, whole."""
    out = Path(str(arguments.get("out", "")))
    return out.is_relative_to(folder) and (out / MANIFEST).exists()


def _is_one_process(config: list[str], arguments: dict[str, Any]) -> bool:
    """Whether a fit asks for one device on one machine, or leaves that open."""
    trainer: Any = merged_config(config, arguments).get("trainer") or {}
    devices = trainer.get("devices")
    several = len(devices) > 1 if isinstance(devices, list) else str(devices).isdecimal() and int(devices) > 1
    return not several and int(trainer.get("num_nodes") or 1) == 1


def _run_lightning(flags: list[str], *, alone: bool) -> None:
    """Run LightningCLI here, or in a process of its own.

    On a GPU it is one of its own: the memory is given back. So it is where it starts others, which repeat the command
    line that started it: they would wait for this one's lock.
    """
    import torch

    if torch.cuda.is_available() or not alone:
        command = [sys.executable, "-m", "lit_mmembed", *flags]
        status = subprocess.run(command, check=False, pass_fds=HELD).returncode
        if status:
            raise InputError(f"`mmembed {flags[0]}` ended with status {status}", fix="see what it printed")
        return
    from lit_mmembed.cli.lightning import main

    main(flags)
