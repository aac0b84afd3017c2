"""A sweep file in W&B's own format, and the command of each trial as W&B's agent builds it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_file

METHODS = ("grid", "random", "bayes")
GOALS = ("maximize", "minimize")
PROGRAM = "mmembed"
EXAMPLE = "experiments/sweeps/ has examples"
OWN_FOLDER = {"fit": "--folder", "pretrain": "--folder", "run": "--out"}
"""The stages that a sweep may run, and the flag that names the folder of each."""
MACRO = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says."""

    path: Path
    content: dict[str, Any]
    """As W&B reads it."""
    metric: str
    """A name in the run's log, e.g. val/hit@5/mean."""
    goal: str
    """`maximize` or `minimize`."""
    count: int | None
    """Trials in all; None is the whole grid."""

    @property
    def maximizes(self) -> bool:
        """Whether more is better."""
        return self.goal == "maximize"


def load_sweep(path: Path, *, count: int | None = None) -> SweepFile:
    """Read a sweep file.

    Args:
        path: The file.
        count: Trials in all, where it differs from the file's `run_cap`.

    Raises:
        InputError: it is not a sweep file, or one that needs W&B's server.
    """
    content = _read(path)
    parameters = content.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise InputError("has no parameters", file=path, fix=f"name what varies under `parameters`; {EXAMPLE}")
    if content.get("method") not in METHODS:
        raise InputError(f"unknown method {content.get('method')!r}", file=path, fix=f"one of {', '.join(METHODS)}")
    metric = content.get("metric")
    if not isinstance(metric, dict) or "name" not in metric or metric.get("goal") not in GOALS:
        fix = "metric: {name: val/hit@5/mean, goal: maximize}"
        raise InputError("does not say which metric is looked for, and its goal", file=path, fix=fix)
    if not isinstance(content.get("command"), list):
        fix = f'command: ["${{env}}", {PROGRAM}, fit, -c, A.yaml, "${{args}}"]'
        raise InputError("has no command, and W&B's default runs a script", file=path, fix=fix)
    if "early_terminate" in content:
        fix = "remove it here, or run the file with `wandb sweep` and `wandb agent`"
        raise InputError("stops trials early (early_terminate), which only W&B's server does", file=path, fix=fix)
    count = content.get("run_cap") if count is None else count
    if count is None and content["method"] != "grid":
        raise InputError(f"a {content['method']} sweep has no end", file=path, fix="--count N, or run_cap in the file")
    if count is not None and count < 1:
        raise InputError(f"{count} trials", file=path, fix="at least 1")
    return SweepFile(path=path, content=content, metric=metric["name"], goal=metric["goal"], count=count)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("does not exist", file=path, fix=EXAMPLE) from None
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        raise InputError(f"is not YAML: {broken}", file=path, fix="correct the file") from None
    if not isinstance(content, dict):
        raise InputError("is not a sweep: a mapping is expected", file=path, fix=EXAMPLE)
    return content


def trial_arguments(sweep: SweepFile, parameters: Mapping[str, Any], folder: Path) -> list[str]:
    """Return what follows `mmembed` in a trial's command: as W&B builds it, and the folder.

    Args:
        sweep: The file.
        parameters: The trial's values by name.
        folder: The trial's own; `${args_json_file}` is written beside it.

    Raises:
        InputError: the command does not run a stage of `mmembed` that a sweep can run.
    """
    command = built_command(sweep, parameters, folder.with_name(f"{folder.name}.json"))
    if command[:1] == ["/usr/bin/env"]:
        command = command[1:]
    if command[:1] == [PROGRAM]:
        arguments = command[1:]
    elif command[:3] == ["python", "-m", "lit_mmembed"]:
        arguments = command[3:]
    else:
        fix = f"{PROGRAM}, or ${{interpreter}} -m lit_mmembed"
        raise InputError(f"runs {command[:1]}, not {PROGRAM}", file=sweep.path, record="command", fix=fix)
    stage = arguments[0] if arguments else None
    if stage not in OWN_FOLDER:
        fix = f"one of {', '.join(OWN_FOLDER)}"
        raise InputError(f"runs `{PROGRAM} {stage}`", file=sweep.path, record="command", fix=fix)
    flag = OWN_FOLDER[stage]
    if any(argument.split("=")[0] == flag for argument in arguments):
        fix = "leave it out: each trial has a folder of its own"
        raise InputError(f"names {flag}", file=sweep.path, record="command", fix=fix)
    return [*arguments, f"{flag}={folder}"]


def built_command(sweep: SweepFile, parameters: Mapping[str, Any], json_file: Path) -> list[str]:
    """Return a trial's command as `wandb.wandb_agent.Agent` builds it, by W&B's own functions.

    Raises:
        InputError: the command has a macro that W&B does not know, none for the parameters, or W&B has changed.
    """
    try:
        from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

        chunks = [str(chunk) for chunk in create_sweep_command(list(sweep.content["command"]))]
        given = create_sweep_command_args({"args": {name: {"value": value} for name, value in parameters.items()}})
        given_json = given["args_json"][0]
    except (ImportError, KeyError, TypeError) as moved:
        fix = "pip install -c constraints.txt wandb"
        raise InputError(f"this version of wandb builds arguments in another way: {moved}", fix=fix) from None
    macros = {**given, "args_json_file": [str(json_file)], "env": ["/usr/bin/env"], "interpreter": ["python"]}
    macros["program"] = [str(sweep.content.get("program"))]
    named = [match[1] for match in map(MACRO.fullmatch, chunks) if match]
    unknown = [name for name in named if name not in macros]
    if unknown or not any(name.startswith("args") for name in named):
        problem = f"${{{unknown[0]}}} is nothing that W&B fills in" if unknown else "the parameters reach no program"
        raise InputError(problem, file=sweep.path, record="command", fix='end it with "${args}"')
    if "args_json_file" in named:
        with atomic_file(json_file) as partial:
            partial.write_text(given_json, encoding="utf-8")
    return [part for chunk in chunks for part in _filled(chunk, macros)]


def _filled(chunk: str, macros: Mapping[str, Any]) -> list[str]:
    match = MACRO.fullmatch(chunk)
    return list(macros[match[1]]) if match else [chunk]


def short(parameters: Mapping[str, Any]) -> str:
    """Return the parameters on one line, each by the last part of its name."""
    values = {last_part(name): value for name, value in parameters.items()}
    return ", ".join(
        f"{name}={last_part(value) if isinstance(value, str) else value}" for name, value in values.items()
    )


def last_part(name: str) -> str:
    """Return "lr" for "model.optimization.lr", "pooling" for "pooling.class_path", the file of a path."""
    name = name.removesuffix(".class_path")
    return name.rpartition("/")[2] if "/" in name else name.rpartition(".")[2]


def as_json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with plain numbers in the place of numpy's."""
    return json.loads(json.dumps(parameters, default=lambda value: value.item()))
