"""`mmembed plan`: one fit from its YAMLs, or all stages of a recipe and of those that it is made of."""

from __future__ import annotations

import argparse

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
        _plan_recipe(flags)
        return
    name = " + ".join(flags.config)
    config = merged_config(flags.config, dict(change_of(text) for text in flags.set))
    summary = fit_summary(fit_of(config, flags, flags.data))
    print("\n".join(lines(name, summary)), flush=True)
    if flags.json:
        write_json(flags.json, {name: summary})


def _plan_recipe(flags: argparse.Namespace) -> None:
    machine = machine_of(flags)
    if flags.data:
        from lit_mmembed.data.directory import DataDirectory

        DataDirectory(flags.data)
    from lit_mmembed.cli.planning.recipes import planned_recipes
    from lit_mmembed.cli.planning.tables import notes, stage_lines, total_lines
    from lit_mmembed.cli.planning.totals import as_json

    planned = planned_recipes(flags)
    for line in (*stage_lines(planned), *total_lines(planned, machine), *notes(planned)):
        print(line, flush=True)
    if flags.details:
        for one in planned:
            if one.work is not None and one.work.details is not None and one.counted:
                print("\n".join(["", *lines(f"{one.name} ({one.stage.command})", one.work.details)]), flush=True)
    if flags.json:
        write_json(flags.json, as_json(planned))
