"""Recipes of recipes: `recipes: [OTHER.yaml, ...]` are run first, each into its own run folder OUT/NAME.

    name: paper_table3
    recipes: [../mbeir/reranking.yaml]       paths begin at this file's folder
    stages:
      report: {command: report, ..., arguments: {run_dir: ["${out}/mbeir_reranking"], paper: [3], out: "${folder}"}}

Seed, folder of run folders and --smoke go to all of them, a --set change to each that has its key (`name`: to the
recipe that was named alone). `${out}/NAME` is the run folder of recipe NAME, with --smoke that of its small settings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from lit_mmembed.cli.loading import changed, has_key, load, no_such_key
from lit_mmembed.errors import InputError

SMOKE = "_smoke"
RUN_FOLDER = re.compile(r"\$\{out\}/([\w.-]+)")


def recipes_of(recipe: Path, changes: Sequence[str], *, smoke: bool) -> list[tuple[Path, DictConfig]]:
    """Return a recipe and all that it is made of, as they are run: depth first, the named one last, each once.

    Args:
        recipe: The recipe.
        changes: KEY=VALUE of --set; each recipe gets those whose key it has.
        smoke: Whether to take the small settings and names.

    Raises:
        InputError: a recipe cannot be read, they run each other, or none has the key of a change.
    """
    found: dict[Path, tuple[Path, DictConfig]] = {}
    unused = dict.fromkeys(changes)
    _collect(recipe, (), changes, found=found, unused=unused, smoke=smoke)
    for change in unused:
        raise no_such_key(change)
    recipes = list(found.values())
    return _with_small_names(recipes) if smoke else recipes


def _collect(
    recipe: Path,
    above: tuple[Path, ...],
    changes: Sequence[str],
    *,
    found: dict[Path, tuple[Path, DictConfig]],
    unused: dict[str, None],
    smoke: bool,
) -> None:
    """Add a recipe behind those that it runs; drop from `unused` the changes that it takes."""
    place = recipe.resolve()
    if place in above:
        circle = " runs ".join(path.name for path in (*above[above.index(place) :], place))
        raise InputError("recipes run each other", file=recipe, record=circle, fix="remove one of them from `recipes`")
    if place in found:
        return
    content = load(recipe)
    if smoke:
        content.vars = OmegaConf.merge(content.get("vars", {}), content.get("smoke", {}))
    taken = [change for change in changes if has_key(content, change) and not (above and _key(change) == "name")]
    content = changed(content, taken)
    for change in taken:
        unused.pop(change, None)
    for other in _named(content, recipe):
        _collect(other, (*above, place), changes, found=found, unused=unused, smoke=smoke)
    found[place] = recipe, content


def _key(change: str) -> str:
    return change.partition("=")[0]


def _named(content: DictConfig, recipe: Path) -> list[Path]:
    """The recipes of a recipe; `load` has made their paths such that they begin where we are."""
    given: Any = content.get("recipes") or []
    if not isinstance(given, list | ListConfig) or not all(isinstance(path, str) for path in given):
        raise InputError("`recipes` is not a list of files", file=recipe, fix="recipes: [clip_sf.yaml, llava_p.yaml]")
    return [Path(path) for path in given]


def _with_small_names(recipes: list[tuple[Path, DictConfig]]) -> list[tuple[Path, DictConfig]]:
    """Give each the name of its small run's folder, also where another's stage reads it."""
    names = {str(content.name) for _, content in recipes}

    def small(found: re.Match[str]) -> str:
        return f"{found[0]}{SMOKE}" if found[1] in names else found[0]

    renamed = []
    for recipe, content in recipes:
        plain: Any = OmegaConf.to_container(content, resolve=False)
        read = _replaced(plain, small)
        renamed.append((recipe, OmegaConf.create({**read, "name": f"{content.name}{SMOKE}"})))
    return renamed


def _replaced(value: Any, small: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(part, small) for key, part in value.items()}
    if isinstance(value, list):
        return [_replaced(part, small) for part in value]
    return RUN_FOLDER.sub(small, value) if isinstance(value, str) else value
