"""The stages of a recipe and of the recipes that it is made of, each planned once."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from lit_mmembed.cli.composing import recipes_of
from lit_mmembed.cli.planning import files, fits, searches
from lit_mmembed.cli.planning.context import Context, NotPlanned
from lit_mmembed.cli.resolving import Stage, resolve
from lit_mmembed.cli.reuse import Finished
from lit_mmembed.errors import InputError
from lit_mmembed.training.plan_work import Work

PLANNERS: Mapping[str, Callable[[Stage, Context], Work]] = {
    "fit": fits.fit,
    "predict": fits.predict,
    "fit-reranker": fits.fit_reranker,
    "mine": searches.mine,
    "evaluate": searches.evaluate,
    "rerank": searches.rerank,
    "encode": searches.encode,
    "shard": files.shard,
    "convert": files.convert,
    "merge": files.merge,
    "report": files.little,
    "compare": files.little,
    "tokenizer": files.little,
    "texts": files.little,
}


@dataclass(frozen=True)
class Planned:
    """A stage of a recipe, and what it costs."""

    recipe: str
    """The name of its run folder."""
    stage: Stage
    work: Work | None
    """None: see `why`."""
    why: str = ""
    """Why it was not planned."""
    same: str = ""
    """RECIPE/STAGE of the stage before that is the very same, whose result it takes."""
    done: bool = False

    @property
    def name(self) -> str:
        """RECIPE/STAGE."""
        return f"{self.recipe}/{self.stage.name}"

    @property
    def counted(self) -> bool:
        """Whether its numbers are part of the totals."""
        return self.work is not None and not self.same and not self.done


def planned_recipes(flags: argparse.Namespace, named: Sequence[Path]) -> list[Planned]:
    """Plan every stage of recipes and of those that they are made of, in the order in which they are run.

    Args:
        flags: What is changed in them, seed, folder of run folders, machine.
        named: The recipes; what several of them share is there once.

    Raises:
        InputError: a recipe cannot be read.
    """
    context = Context(flags, finished=Finished(flags.out).folders)
    stages = _stages(flags, named)
    context.stages.update({stage.folder: stage for _, stage in stages})
    seen: dict[str, str] = {}
    planned = []
    for recipe, stage in stages:
        same = "" if stage.always else seen.get(stage.fingerprint, "")
        seen.setdefault(stage.fingerprint, f"{recipe}/{stage.name}")
        is_done = not stage.always and stage.fingerprint in context.finished
        work, why = _work(stage, context)
        planned.append(Planned(recipe, stage, work, why, same, is_done))
    return planned


def _stages(flags: argparse.Namespace, named: Sequence[Path]) -> list[tuple[str, Stage]]:
    """The stages with the names of their run folders; what recipes of one run folder have in common is there once."""
    contents: dict[Path, tuple[Path, DictConfig]] = {}
    for named_file in named:
        for file, content in recipes_of(named_file, flags.set, smoke=flags.smoke):
            contents.setdefault(file.resolve(), (file, content))
    stages: dict[tuple[Path, str], tuple[str, Stage]] = {}
    for file, content in contents.values():
        for stage in resolve(content, seed=flags.seed, out=flags.out, file=file).values():
            stages.setdefault((stage.folder, stage.fingerprint), (str(content.name), stage))
    return list(stages.values())


def _work(stage: Stage, context: Context) -> tuple[Work | None, str]:
    planner = PLANNERS.get(stage.command, files.unknown)
    try:
        return planner(stage, context), ""
    except NotPlanned as unknown:
        return None, str(unknown)
    except InputError as unknown:
        made_by = context.maker(unknown.file) if unknown.file else None
        if made_by is not None and made_by is not stage:
            return None, f"its checkpoint is made by stage {made_by.name} ({made_by.command})"
        return None, f"{unknown.file}: {unknown.problem}" if unknown.file else unknown.problem
