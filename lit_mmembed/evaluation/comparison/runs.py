"""The runs that are compared: evaluations found in the folders that were named, sorted into systems and seeds."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.report.collect import (
    SEED_FOLDER,
    SHARED,
    STAGE_FILE,
    STARTED_FILE,
    Run,
    Stage,
    System,
    collect,
    read_stage,
)
from lit_mmembed.evaluation.report.stage import NOT_RERANKED
from lit_mmembed.files import read_json
from lit_mmembed.retrieval.ranking import ranking_record

RUN_FILES = {"global": "run.parquet", "local": "run_local.parquet"}
TRAINING_FILE = "training.json"
NAME_THEM = "name evaluation folders: NAME=FOLDER,FOLDER for the seeds of each system"


@dataclass(frozen=True)
class Evaluated:
    """One evaluation: a system trained with one seed."""

    stage: Stage
    """Of a folder that no recipe has made: what can be told from the folder."""
    run: Run
    """The run folder around it; of a folder that no recipe has made, the folder itself."""
    pool: str

    @property
    def system(self) -> System:
        """The system, whose model's name says who reranked: each order of its documents is compared with the others."""
        system, reranker = self.stage.system, self.stage.reranker
        return system._replace(model=f"{system.model}, {reranker}") if reranker not in ("", NOT_RERANKED) else system

    @property
    def folder(self) -> Path:
        """Where the ranking lies."""
        return self.stage.folder

    @property
    def ranking(self) -> Path:
        """The ranking compared."""
        return self.folder / RUN_FILES[self.pool]

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """What produced the ranking."""
        return ranking_record(self.ranking)

    @property
    def seed(self) -> int:
        """The seed it was trained with."""
        return self.stage.seed

    @property
    def split(self) -> str:
        """Which split's queries were asked."""
        return str(self.record.get("split") or self.stage.arguments.get("split") or "")

    @property
    def data(self) -> Path | None:
        """The data directory that was evaluated on, where the stage names it."""
        recorded = self.stage.arguments.get("data")
        return self.run.locate(str(recorded)) if recorded else None


class Group(NamedTuple):
    """What one argument, or several of one system, hold: evaluations by system."""

    name: str
    """As the user named it; empty without NAME=."""
    evaluations: tuple[Evaluated, ...]

    @property
    def systems(self) -> dict[System, tuple[Evaluated, ...]]:
        """The seeds of each system, ascending."""
        found: dict[System, list[Evaluated]] = {}
        for evaluation in self.evaluations:
            found.setdefault(evaluation.system, []).append(evaluation)
        return {system: tuple(sorted(members, key=lambda e: e.seed)) for system, members in found.items()}


def read_groups(arguments: Sequence[str], pool: str) -> list[Group]:
    """Find the evaluations that the arguments name.

    Args:
        arguments: `[NAME=]FOLDER[,FOLDER...]`; a folder is an evaluation's or a run folder, and may hold `*`. Without
            a name, evaluation folders whose labels say that they are seeds of one system belong together.
        pool: "global" or "local".

    Raises:
        InputError: a folder without an evaluation, or one that is not finished.
    """
    groups: list[Group] = []
    joined: dict[System, int] = {}
    for argument in arguments:
        name, folders = _folders(argument)
        found = [_read(folder, pool) for folder in folders]
        members = tuple(evaluation for evaluations in found for evaluation in evaluations)
        systems = {evaluation.system for evaluation in members}
        is_labelled = all(evaluation.stage.labels for evaluation in members)
        if name or len(systems) > 1 or not is_labelled or any(len(evaluations) > 1 for evaluations in found):
            groups.append(Group(name, members))
            continue
        system = systems.pop()
        if system in joined and groups[joined[system]].evaluations[0].run.folder == members[0].run.folder:
            place = joined[system]
            groups[place] = Group("", (*groups[place].evaluations, *members))
        else:
            joined[system] = len(groups)
            groups.append(Group("", members))
    return groups


def described(group: Group) -> str:
    """The systems of a group in words, for an error."""
    names = [" ".join(filter(None, (system.encoder, system.model, system.variant))) for system in group.systems]
    return ", ".join(names)


def _folders(argument: str) -> tuple[str, list[Path]]:
    """The name given, and the folders: an existing path is taken as it is, whatever characters it has."""
    if Path(argument).exists():
        return "", [Path(argument)]
    name, equals, listed = argument.partition("=")
    if not equals or "/" in name:
        name, listed = "", argument
    folders: list[Path] = []
    for part in filter(None, listed.split(",")):
        found = sorted(glob.glob(part)) if glob.has_magic(part) else [part]  # noqa: PTH207 (an absolute pattern)
        if not found:
            raise InputError("no folder is called so", file=part, fix=NAME_THEM)
        folders += [Path(path) for path in found]
    if not folders:
        raise InputError(f"{argument!r} names no folder", fix=NAME_THEM)
    return name, folders


def _read(folder: Path, pool: str) -> list[Evaluated]:
    if not folder.is_dir():
        raise InputError("is not a folder", file=folder, fix=NAME_THEM)
    ranking = folder / RUN_FILES[pool]
    if ranking.exists():
        return [_one(folder, pool)]
    if (folder / RUN_FILES["global"]).exists():
        raise InputError(f"has no ranking of the {pool} pool", file=folder, fix="leave --pool out, or evaluate again")
    if (folder / STAGE_FILE).exists():
        command = read_json(folder / STAGE_FILE).get("command")
        raise InputError(
            f"is a {command} stage, not an evaluation", file=folder, fix="name the evaluate stage of this model"
        )
    if not any(folder.glob(f"seed*/*/*/{STAGE_FILE}")):
        fix = "name OUT of `mmembed evaluate --model --data --out OUT`, or a run folder of `mmembed run`"
        raise InputError(f"is no run: it has no {ranking.name}", file=folder, fix=fix)
    run = collect(folder)
    found = [Evaluated(evaluation.stage, run, pool) for evaluation in run.evaluations]
    missing = next((evaluation for evaluation in found if not evaluation.ranking.exists()), None)
    if missing:
        raise InputError("does not exist", file=missing.ranking, fix="evaluate again, or name the folders to compare")
    return found


def _one(folder: Path, pool: str) -> Evaluated:
    """An evaluation by its own folder; its run folder is found from where it lies."""
    mark, place = folder / STAGE_FILE, folder.resolve()
    if (folder / STARTED_FILE).exists() and not mark.exists():
        raise InputError("is not finished", file=folder, fix="run the recipe again")
    if mark.exists():
        run_dir = next(
            (path.parent for path in place.parents if path.name == SHARED or SEED_FOLDER.fullmatch(path.name)), None
        )
        stage = read_stage(run_dir or place.parent, place / STAGE_FILE)
        return Evaluated(stage, Run(run_dir or place.parent, (), (), ()), pool)
    training = folder / TRAINING_FILE
    recorded = read_json(training) if training.exists() else {}
    labels = {"seed": recorded["seed"]} if recorded.get("seed") is not None else {}
    stage = Stage(folder, folder.name, folder.name, "evaluate", {}, (), labels, {})
    return Evaluated(stage, Run(folder, (), (), ()), pool)
