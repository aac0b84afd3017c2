"""Whether a trial's command is one that `mmembed` takes, before anything trains."""

from __future__ import annotations

from pathlib import Path

from lit_mmembed.cli.commands import LIGHTNING
from lit_mmembed.cli.sweep.definition import SweepFile
from lit_mmembed.errors import InputError


def refuse_wrong_arguments(sweep: SweepFile, arguments: list[str]) -> None:
    """Parse a trial's command with the parser of its stage; nothing is built.

    Raises:
        InputError: a parameter is nothing that the stage has, or has a value that it does not take.
    """
    try:
        if arguments[0] in LIGHTNING:
            from lit_mmembed.cli.lightning import check

            check(arguments)
        else:
            _check_recipe(arguments)
    except InputError as wrong:
        if wrong.file:
            raise
        raise InputError(wrong.problem, file=sweep.path, record="first trial", fix=wrong.fix) from None


def _check_recipe(arguments: list[str]) -> None:
    """Resolve the recipe with its variables, and parse each of its fits."""
    from lit_mmembed.cli.composing import recipes_of
    from lit_mmembed.cli.execution import lightning_flags
    from lit_mmembed.cli.lightning import check
    from lit_mmembed.cli.recipe import resolve
    from lit_mmembed.cli.stages import parse

    flags = parse(arguments)
    for file, content in recipes_of(flags.recipe, flags.set, smoke=flags.smoke):
        for stage in resolve(content, seed=flags.seed, out=Path("unused"), file=file).values():
            if stage.command in LIGHTNING:
                given = {"config": stage.config, "folder": stage.folder, "seed": flags.seed}
                check(lightning_flags(stage.command, stage.arguments, **given))
