"""Where a number of ours comes from: the evaluations of several run folders, each system and seed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.report.collect import Evaluation, Run
from lit_mmembed.evaluation.report.paper import plain
from lit_mmembed.evaluation.report.stage import MAIN
from lit_mmembed.evaluation.report.summary import Summary

ERROR, FIRST = "error", "first"
ON_CONFLICT = (ERROR, FIRST)
SAME = 1e-9
"""Values closer than this are equal."""
AVERAGE = "avg_"
Key = tuple[str, str, int | None, str]
"""Pool, metric, k (None: each task's own), task."""


class Placed(NamedTuple):
    """An evaluation and the run folder that it lies in."""

    run: Run
    evaluation: Evaluation
    name: str
    """The run folder's name, or its path where another has the same name."""

    @property
    def place(self) -> str:
        """Run folder and stage."""
        return f"{self.name}/{self.evaluation.stage.place}"

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that it has numbers of."""
        return frozenset(score.task for score in self.evaluation.scores if not score.task.startswith(AVERAGE))


class Wanted(NamedTuple):
    """Which evaluations a column is about, by the labels of their stages."""

    models: tuple[str, ...]
    encoder: str
    kind: str = MAIN
    instructions: tuple[str, ...] = ("with", "")
    splits: tuple[str, ...] = ()
    """In order of preference: the first that there is, is taken. Empty: whatever there is."""
    reranker: str = ""

    @property
    def words(self) -> str:
        """Its name in a message."""
        asked = "" if "" in self.instructions or not self.instructions else f" {self.instructions[0]} instructions"
        reranker = f", reranker {self.reranker}" if self.reranker else ""
        return f"{self.models[0]} {self.encoder}{asked}{reranker}".strip()

    def fits(self, evaluation: Evaluation) -> bool:
        """Whether an evaluation is one of them, whatever its split and seed."""
        stage = evaluation.stage
        system = stage.system
        return (
            stage.kind == self.kind
            and system.model in self.models
            and plain(system.encoder) == plain(self.encoder)
            and (not self.instructions or system.instructions in self.instructions)
            and stage.reranker == self.reranker
        )


class Ours(NamedTuple):
    """A number of ours, in percent."""

    summary: Summary
    places: tuple[str, ...]
    """RUN/STAGE of each seed."""

    @property
    def percent(self) -> float:
        """The mean over seeds."""
        return 100 * self.summary.mean

    @property
    def std(self) -> float | None:
        """Standard deviation over seeds; None for one seed."""
        return None if self.summary.std is None else 100 * self.summary.std


@dataclass(frozen=True)
class Found:
    """The evaluations of one system by seed; several of one seed have other tasks or pools, or the same numbers."""

    by_seed: Mapping[int, tuple[Placed, ...]]
    split: str = ""

    @property
    def placed(self) -> list[Placed]:
        """All of them."""
        return [placed for several in self.by_seed.values() for placed in several]

    def ours(self, pool: str, metric: str, k: int | None, task: str) -> Ours | None:
        """One number over its seeds; None where it was not measured."""
        values, places = {}, []
        for seed, several in sorted(self.by_seed.items()):
            for placed in _with_all_tasks(several) if task.startswith(AVERAGE) else several:
                score = placed.evaluation.by_name.get((pool, metric, k, task))
                if score is not None:
                    values[seed] = score.value
                    places.append(placed.place)
                    break
        return Ours(Summary(values), tuple(places)) if values else None


NOTHING = Found({})


@dataclass(frozen=True)
class Library:
    """Run folders, in the order in which they were named."""

    runs: tuple[Run, ...]
    on_conflict: str = ERROR
    """ERROR, or FIRST: of run folders that differ the one named first counts."""
    left_out: dict[tuple[str, str], str] = field(default_factory=dict)
    """System and run folder -> why that does not count, in words; filled while tables are made."""

    def limited(self, has: Callable[[Run], bool]) -> Library:
        """The same, of those run folders only of which it holds; of all where it holds of none."""
        runs = tuple(run for run in self.runs if has(run))
        return Library(runs or self.runs, self.on_conflict, self.left_out)

    @property
    def named(self) -> list[tuple[str, Run]]:
        """Each run folder with a name that no other has."""
        names = [run.name for run in self.runs]
        return [(run.name if names.count(run.name) == 1 else str(run.folder), run) for run in self.runs]

    def find(self, wanted: Wanted) -> Found:
        """The evaluations that are wanted, by seed.

        Raises:
            InputError: two of one seed and split have different numbers; names both stages.
        """
        refused = set() if wanted.kind == MAIN else self._refused(wanted._replace(kind=MAIN, splits=(), reranker=""))
        fitting = [placed for placed in self._fitting(wanted) if placed.name not in refused]
        splits = wanted.splits or tuple(dict.fromkeys(placed.evaluation.stage.split for placed in fitting))
        for split in splits:
            chosen = [placed for placed in fitting if placed.evaluation.stage.split == split]
            if chosen:
                return Found(_each_once(chosen, self._refused(wanted._replace(splits=(split,)))), split)
        return NOTHING

    def rerankers(self, wanted: Wanted) -> list[str]:
        """Names of the rerankers that such evaluations are of, as they come."""
        names = dict.fromkeys(e.stage.reranker for run in self.runs for e in run.everything)
        return [name for name in names if name and self.find(wanted._replace(reranker=name)).by_seed]

    def _fitting(self, wanted: Wanted) -> list[Placed]:
        return [Placed(run, e, name) for name, run in self.named for e in run.everything if wanted.fits(e)]

    def _refused(self, wanted: Wanted) -> set[str]:
        """Names of the run folders whose numbers of a system differ from those of a folder named before."""
        refused: set[str] = set()
        for first, second in combinations(self._fitting(wanted), 2):
            one, other = first.evaluation, second.evaluation
            split = one.stage.split
            alike = one.seed == other.seed and split == other.stage.split and split in (wanted.splits or (split,))
            if not alike or {first.name, second.name} & refused:
                continue
            if (key := _differing(first, second)) is not None:
                self._refuse(wanted, first, second, key)
                refused.add(second.name)
        return refused

    def _refuse(self, wanted: Wanted, first: Placed, second: Placed, key: Key) -> None:
        """Leave the second run folder out for this system, where that was asked for; else raise."""
        if self.on_conflict == FIRST and first.name != second.name:
            words = f"{second.name} has other values than {first.name}, which is named first, and does not count"
            self.left_out[wanted.words, second.name] = words
            return
        here, there = (f"{100 * placed.evaluation.by_name[key].value:.2f}" for placed in (first, second))
        pool, metric, k, task = key
        measure = f"{metric}@{k}" if k else metric
        where = f"{wanted.words}, seed {first.evaluation.seed}, {task}, {measure}, {pool} pool"
        fix = "leave one of the run folders out, or add --on-conflict first: the one named first counts"
        if first.name == second.name:
            fix = "give one of the two stages the label `in_report: false`"
        problem = f"is {there} here, but {here} in {first.evaluation.stage.folder}"
        raise InputError(problem, file=second.evaluation.stage.folder, record=where, fix=fix)


def _each_once(chosen: Sequence[Placed], refused: Set[str]) -> dict[int, tuple[Placed, ...]]:
    """By seed; an evaluation that measured nothing more than one before it, and so has the same numbers, is left out.

    One of the same tasks may measure more: local pools, other cut-offs.
    """
    kept: dict[int, list[Placed]] = {}
    for placed in chosen:
        several = kept.setdefault(placed.evaluation.seed, [])
        measured = placed.evaluation.by_name.keys()
        if placed.name not in refused and not any(measured <= other.evaluation.by_name.keys() for other in several):
            several.append(placed)
    return {seed: tuple(several) for seed, several in kept.items() if several}


def _differing(first: Placed, second: Placed) -> Key | None:
    """A number that both have and that differs; averages count between evaluations of the same tasks only."""
    same_tasks = first.tasks == second.tasks
    others = second.evaluation.by_name
    for key, score in first.evaluation.by_name.items():
        other = others.get(key)
        counts = same_tasks or not score.task.startswith(AVERAGE)
        if counts and other is not None and abs(score.value - other.value) > SAME:
            return key
    return None


def _with_all_tasks(several: Sequence[Placed]) -> list[Placed]:
    """Those whose averages are over every task that any of them has."""
    tasks = frozenset().union(*(placed.tasks for placed in several))
    return [placed for placed in several if placed.tasks == tasks]
