"""The numbers of a comparison: every measure of a pair of systems, per task and in the paper's averages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lit_mmembed.data.tasks import averages
from lit_mmembed.evaluation.comparison.judging import Judgements, Measure, Values
from lit_mmembed.evaluation.comparison.statistics import (
    SIGNIFICANT,
    Draws,
    Measured,
    average,
    holm,
    measure_paired,
    measure_unpaired,
)
from lit_mmembed.evaluation.comparison.systems import Contender, Pair, Pairing
from lit_mmembed.types import Task

AVERAGES = ("avg_all", "avg_single_modal", "avg_multi_modal")


class Difference(NamedTuple):
    """One row: a metric of two systems on one task, or an average over tasks."""

    measure: Measure
    name: str
    """The task's, or one of AVERAGES."""
    task: Task | None
    n: int
    """Queries."""
    base: float
    other: float
    difference: float
    """other - base."""
    low: float
    high: float
    """95 % interval of the difference, over queries and, where there are several, over seeds."""
    by_seed: tuple[float, ...]
    """The difference of each paired seed."""
    p: float
    """Two-sided, of the paired randomisation test over queries."""
    p_corrected: float
    """Holm's, over the tasks, or over the averages."""

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p is below 5 % and the interval leaves out 0."""
        return self.p_corrected < SIGNIFICANT and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Comparison:
    """The numbers."""

    pairing: Pairing
    judgements: Judgements
    judged: Mapping[Path, Values]
    measures: Sequence[Measure]
    differences: Sequence[Sequence[Difference]]
    """Of each pair."""
    draws: Draws
    pool: str

    @property
    def contenders(self) -> list[Contender]:
        """Every system once."""
        members = [contender for pair in self.pairing.pairs for contender in pair]
        return list({contender.name: contender for contender in members}.values())

    @property
    def by_pair(self) -> list[tuple[Pair, Sequence[Difference]]]:
        """Every pair with its rows."""
        return list(zip(self.pairing.pairs, self.differences, strict=True))


def differences_of(
    pair: Pair, judgements: Judgements, judged: Mapping[Path, Values], *, measures: Sequence[Measure], draws: Draws
) -> list[Difference]:
    """Compare two systems by every measure: tasks, then averages."""
    measure = measure_paired if pair.is_paired else measure_unpaired
    rows: list[Difference] = []
    for what in measures:
        base, other = (np.stack([judged[e.folder].by_measure[what] for e in side.evaluations]) for side in pair)
        found = {
            group.name: measure(base[:, group.rows], other[:, group.rows], draws.samples, draws.generator(group.name))
            for group in judgements.groups
        }
        tasks = {task.name: task for task in judgements.tasks}
        members = _members(judgements.tasks)
        means = {name: average([found[task] for task in names]) for name, names in members.items()}
        for family in (found, means):
            rows += _rows(family, what, tasks, draws)
    return rows


def _members(tasks: Sequence[Task]) -> dict[str, list[str]]:
    """The tasks of each of the paper's averages."""
    members: dict[str, list[str]] = {}
    for task in tasks:
        for name in averages({task.name: 1.0}, [task]):
            members.setdefault(name, []).append(task.name)
    return {name: members[name] for name in AVERAGES if name in members}


def _rows(family: Mapping[str, Measured], what: Measure, tasks: Mapping[str, Task], draws: Draws) -> list[Difference]:
    p = [measured.p(draws, name) for name, measured in family.items()]
    return [
        Difference(
            what,
            name,
            tasks.get(name),
            len(measured.weighted),
            measured.base,
            measured.other,
            measured.difference,
            *measured.ends(draws),
            measured.by_seed,
            alone,
            corrected,
        )
        for (name, measured), alone, corrected in zip(family.items(), p, holm(p), strict=True)
    ]
