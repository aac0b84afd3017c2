"""A recipe's file: read together with what it is based on, and changed by --set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from lit_mmembed.cli.basing import on_base
from lit_mmembed.cli.repeating import repeated
from lit_mmembed.errors import InputError

SHAPES = {"vars": dict, "smoke": dict, "labels": dict, "stages": dict}
STAGE_SHAPES = {"arguments": dict, "labels": dict, "config": list}


def load(recipe: Path) -> DictConfig:
    """Read a recipe and what it is based on.

    The files of `recipes` begin where we are in what is returned, not at the recipe's folder.

    Raises:
        InputError: a file is missing, is not YAML, or is no recipe.
    """
    return _loaded(recipe, ())


def _loaded(recipe: Path, above: tuple[Path, ...]) -> DictConfig:
    place = recipe.resolve()
    if place in above:
        circle = " is based on ".join(path.name for path in (*above[above.index(place) :], place))
        raise InputError("recipes are based on each other", file=recipe, record=circle, fix="remove one of the `base`")
    content = repeated(_read(recipe), recipe)
    if isinstance(content.get("recipes"), ListConfig):
        content.recipes = [os.path.normpath(recipe.parent / str(other)) for other in content.recipes]
    if "base" in content:
        content = on_base(_loaded(recipe.parent / content.pop("base"), (*above, place)), content, recipe)
    elif "only" in content:
        raise InputError("`only` is about the stages of a `base`", file=recipe, fix="name the base, or remove it")
    if "recipes" in content:
        content.setdefault("stages", {})
    for key in ("name", "stages"):
        if key not in content:
            raise InputError(f"is not a recipe: `{key}` is missing", file=recipe, fix="see lit_mmembed/cli/recipe.py")
    return content


def _read(recipe: Path) -> DictConfig:
    content: Any
    try:
        content = OmegaConf.load(recipe)
    except FileNotFoundError:
        raise InputError("does not exist", file=recipe, fix="experiments/ holds the recipes") from None
    except Exception as broken:
        raise InputError(f"is not YAML: {broken}", file=recipe, fix="correct the file") from None
    if not isinstance(content, DictConfig):
        raise InputError("is not a recipe: a mapping is expected", file=recipe, fix="see lit_mmembed/cli/recipe.py")
    plain: Any = OmegaConf.to_container(content, resolve=False)
    plain = _filled(plain, SHAPES, "the recipe", recipe)
    stages = plain.get("stages", {})
    plain |= {"stages": {n: _filled(stage, STAGE_SHAPES, f"stage {n}", recipe) for n, stage in stages.items()}}
    if not stages:
        del plain["stages"]
    return OmegaConf.create(plain)


def _filled(given: Any, shapes: Mapping[str, type], record: str, recipe: Path) -> dict[str, Any]:
    """Leave out keys without a value; InputError where a value is of another kind than its key's."""
    if not isinstance(given, dict):
        fix = "write `command` and what it needs below it, or remove the stage"
        raise InputError("is not a mapping", file=recipe, record=record, fix=fix)
    for key, shape in shapes.items():
        if given.get(key) is not None and not isinstance(given[key], shape):
            kind = "mapping" if shape is dict else "list"
            raise InputError(
                f"`{key}` is not a {kind}", file=recipe, record=record, fix="see lit_mmembed/cli/recipe.py"
            )
    return {key: value for key, value in given.items() if value is not None or key not in shapes}


def changed(content: DictConfig, changes: Sequence[str]) -> DictConfig:
    """Return a recipe with KEY=VALUE set; InputError where it has no such key."""
    for change in changes:
        if not has_key(content, change):
            raise no_such_key(change)
        key, _, value = change.partition("=")
        OmegaConf.update(content, key, yaml.safe_load(value))
    return content


def has_key(content: DictConfig, change: str) -> bool:
    """Say whether a recipe has what KEY=VALUE would set."""
    key, equals, _ = change.partition("=")
    parent, _, name = key.rpartition(".")
    where = OmegaConf.select(content, parent or key)
    return bool(equals) and where is not None and (parent != "vars" or name in where)


def no_such_key(change: str) -> InputError:
    """Return what is said about a change of a key that there is not."""
    key = change.partition("=")[0]
    return InputError(f"--set {change}: there is no {key!r} to set", fix="KEY=VALUE, as in vars.root=/data/M-BEIR")
