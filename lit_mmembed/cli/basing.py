"""A recipe on top of another: all of the other's stages, or `only` some of them with what they read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lit_mmembed.cli.resolving import STAGE_NAMED
from lit_mmembed.errors import InputError


def on_base(base: DictConfig, own: DictConfig, file: Path) -> DictConfig:
    """Return a recipe merged over its base.

    Args:
        base: The other recipe, complete.
        own: What differs. Its `only: [STAGE, ...]` leaves out every stage of the base but these and what these read.
        file: For errors.

    Raises:
        InputError: `only` names a stage that the base has not.
    """
    names = own.pop("only", None)
    if names is not None:
        base = _kept(base, names, file)
    merged = OmegaConf.merge(base, own)
    assert isinstance(merged, DictConfig)
    return merged


def _kept(base: DictConfig, names: Any, file: Path) -> DictConfig:
    given: Any = OmegaConf.to_container(base, resolve=False)
    stages = given["stages"]
    unknown = [name for name in names if name not in stages]
    if unknown:
        raise InputError(f"`only` names {unknown}, no stages of its base", file=file, fix=f"one of {list(stages)}")
    wanted, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name in stages and name not in wanted:
            wanted.add(name)
            waiting += STAGE_NAMED.findall(str(stages[name]))
    return OmegaConf.create({**given, "stages": {name: stages[name] for name in stages if name in wanted}})
