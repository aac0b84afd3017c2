"""A recipe's file: read together with what it is based on, and changed by --set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf

from lit_mmembed.cli.basing import on_base
from lit_mmembed.cli.repeating import repeated
from lit_mmembed.errors import InputError


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
    return content


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
