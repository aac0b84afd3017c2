"""Where the checkpoint below an adapter is: as its model folder says, or where it has moved to."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_mmembed.errors import InputError

Base = str | Path | Mapping[str, str | Path]
"""A folder or a name on the hub; or {argument of the backbone: one}, where it is built on several."""


def at_base(description: Mapping[str, Any], backbone: type, base: Base | None, folder: Path) -> dict[str, Any]:
    """Return an adapter's description with its checkpoints where `base` says they are.

    Args:
        description: encoder.json's content.
        backbone: The class that it names.
        base: One place where the backbone has one checkpoint; {"llava": ..., "nv_embed": ...} where it has several, and
            what has the same place elsewhere (the pooling's checkpoint) moves along. None: as the folder says.
        folder: The model folder, from which relative places count.

    Raises:
        InputError: a checkpoint is not where the folder says; `base` is not of this backbone.
    """
    hints = argument_hints(backbone)
    given = description["init_args"]["backbone"]["init_args"]
    places = {name: at for name, at in given.items() if isinstance(at, str) and is_path(hints.get(name))}
    if base is None:
        _check_present(places, folder)
        return dict(description)
    moved = dict(base) if isinstance(base, Mapping) else dict.fromkeys(places, base)
    if not moved.keys() <= places.keys() or (not isinstance(base, Mapping) and len(places) != 1):
        fix = f"give `base` as a mapping with {', '.join(places)}"
        raise InputError(f"is built on {len(places)} checkpoints", file=folder, fix=fix)
    now = {places[name]: str(Path(at).resolve()) if Path(at).is_dir() else str(at) for name, at in moved.items()}
    return {**description, "init_args": _replaced(description["init_args"], now)}


def argument_hints(kind: type) -> dict[str, Any]:
    """Return the types of a constructor's arguments."""
    return typing.get_type_hints(inspect.unwrap(kind.__init__))  # type: ignore[misc]


def is_path(hint: Any) -> bool:
    """Say whether an argument of this type may name a file or a folder."""
    return hint is Path or Path in typing.get_args(hint)


def _check_present(places: Mapping[str, str], folder: Path) -> None:
    for name, place in places.items():
        if place.startswith(("/", "..")) and not (folder / place).exists():
            problem = f"its checkpoint is gone: {name} is {place}"
            raise InputError(problem, file=folder, fix="move it back, or load the folder with `base`")


def _replaced(value: Any, now: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _replaced(part, now) for name, part in value.items()}
    return now.get(value, value) if isinstance(value, str) else value
