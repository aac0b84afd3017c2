"""`mmembed plan`: one fit from its YAMLs, or all stages of recipes and of those that they are made of."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lit_mmembed.cli.planning.configs import change_of, fit_of, machine_of, merged_config
from lit_mmembed.cli.planning.lines import lines
from lit_mmembed.errors import InputError
from lit_mmembed.files import write_json
from lit_mmembed.training.plan_summary import fit_summary


def plan(flags: argparse.Namespace) -> None:
    """Plan what the flags name.

    Raises:
        InputError: neither or both of a recipe and a fit are named; one of them cannot be read.
    """
    if bool(flags.recipe) == bool(flags.config):
        raise InputError("plan takes a recipe, or the YAMLs of one fit", fix="RECIPE.yaml, or -c A.yaml -c B.yaml")
    if flags.recipe:
        _plan_recipes(flags)
        return
    name = " + ".join(flags.config)
    config = merged_config(flags.config, dict(change_of(text) for text in flags.set))
    summary = fit_summary(fit_of(config, flags, flags.data))
    print("\n".join(lines(name, summary)), flush=True)
    if flags.json:
        write_json(flags.json, {name: summary})


def _plan_recipes(flags: argparse.Namespace) -> None:
    """Plan one recipe stage by stage, or several of them as one table and their sum."""
    machine = machine_of(flags)
    if flags.data:
        from lit_mmembed.data.directory import DataDirectory

        DataDirectory(flags.data)
    from lit_mmembed.cli.planning.recipes import planned_recipes
    from lit_mmembed.cli.planning.tables import notes, stage_lines, total_lines
    from lit_mmembed.cli.planning.totals import as_json, by_recipe

    named = _by_name(flags.recipe)
    whole = planned_recipes(flags, list(named.values()))
    if len(named) == 1:
        groups = by_recipe(whole)
        print("\n".join(stage_lines(whole)), flush=True)
    else:
        groups = {name: planned_recipes(flags, [file]) for name, file in named.items()}
    print("\n".join([*total_lines(groups, whole, machine), *notes(whole)]), flush=True)
    if flags.details:
        for one in whole:
            if one.work is not None and one.work.details is not None and one.counted:
                print("\n".join(["", *lines(f"{one.name} ({one.stage.command})", one.work.details)]), flush=True)
    if flags.json:
        alone = {name: as_json(planned) for name, planned in groups.items()} if len(named) > 1 else {}
        write_json(flags.json, {**as_json(whole), **({"alone": alone} if alone else {})})


def _by_name(recipes: Sequence[Path]) -> dict[str, Path]:
    """Each recipe once, named by as many last parts of its path as tell it from the others."""
    files = {file.resolve(): file for file in recipes}
    parts = {place: place.with_suffix("").parts for place in files}
    named = {}
    for place, file in files.items():
        ends = (parts[place][-length:] for length in range(1, len(parts[place])))
        alone = (end for end in ends if sum(other[-len(end) :] == end for other in parts.values()) == 1)
        named["/".join(next(alone, (str(place),)))] = file
    return named
