"""Means over seeds, differences over paired seeds, and which number of a result file a table shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lit_mmembed.data.tasks import MBEIR_MODALITIES, MBEIR_TASKS, PAPER_ID
from lit_mmembed.evaluation.report.collect import Evaluation, Run, System
from lit_mmembed.types import Score, Task

ENOUGH_SEEDS = 3
"""With fewer paired seeds a difference is shown, but no claim is made."""
AVERAGES = {
    "avg_all": ("all tasks", "mean"),
    "avg_single_modal": ("single-modal", "mean of T1 to T5"),
    "avg_multi_modal": ("multi-modal", "mean of T6 to T8"),
}
"""The paper's averages (Table 1), plain means over tasks: label and what is averaged."""
HIT, ACCURACY = "hit", "modality_accuracy"
FALLBACK_K = {HIT: 5, ACCURACY: 1}
TEXT_METRIC, TEXT_K = "ndcg", 10


@dataclass(frozen=True)
class Summary:
    """One number over seeds, as a share (0 to 1)."""

    values: Mapping[int, float]
    """Seed -> value."""
    low: float | None = None
    """The bootstrap interval over queries, where there is one seed."""
    high: float | None = None

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return math.fsum(self.values.values()) / self.n

    @property
    def std(self) -> float | None:
        """Standard deviation of the sample (n - 1); None for one seed."""
        if self.n < 2:
            return None
        return math.sqrt(math.fsum((value - self.mean) ** 2 for value in self.values.values()) / (self.n - 1))


@dataclass(frozen=True)
class Measured:
    """A row that was measured: a task, an average or, without tasks, all queries."""

    name: str
    dataset: str
    n: int
    """Queries."""
    task: Task | None

    @property
    def is_average(self) -> bool:
        """Whether it is one of the paper's averages."""
        return self.name in AVERAGES


def measured_rows(run: Run) -> list[Measured]:
    """Tasks by the paper's number, then the averages."""
    known = {task.name: task for task in MBEIR_TASKS}
    for evaluation in run.evaluations:
        directory = run.data_of(evaluation)
        known.update({task.name: task for task in directory.tasks} if directory else {})
    first: dict[str, Score] = {}
    for evaluation in run.evaluations:
        for score in evaluation.scores:
            first.setdefault(score.task, score)
    rows = [
        Measured(name, score.dataset, score.n, known.get(name) or _task_by_number(score))
        for name, score in first.items()
        if name not in AVERAGES
    ]
    averages = [Measured(name, first[name].dataset, first[name].n, None) for name in AVERAGES if name in first]
    order = {row.name: place for place, row in enumerate(rows)}
    return sorted(rows, key=lambda row: (row.task.paper_id if row.task else 99, order[row.name])) + averages


def value_of(evaluation: Evaluation, pool: str, measure: str, task: str) -> Score | None:
    """The number a table shows: hit@k at the task's own cut-off, or modality accuracy@1."""
    found = evaluation.by_name.get((pool, "headline", None, task)) if measure == HIT else None
    return found or evaluation.by_name.get((pool, measure, FALLBACK_K[measure], task))


def summarize(run: Run, system: System, pool: str, measure: str, task: str) -> Summary | None:
    """One system's number over its seeds; None where it was not measured."""
    scores: dict[int, Score] = {}
    for evaluation in run.evaluations:
        if evaluation.system == system:
            score = value_of(evaluation, pool, measure, task)
            if score is not None:
                scores[evaluation.seed] = score
    if not scores:
        return None
    only = next(iter(scores.values())) if len(scores) == 1 else None
    values = {seed: score.value for seed, score in sorted(scores.items())}
    return Summary(values, only.low if only else None, only.high if only else None)


def text_summary(run: Run, system: System, task: str) -> Summary | None:
    """A system's nDCG@10 on a text set over its seeds."""
    values = {
        evaluation.seed: score.value
        for evaluation in run.texts
        if evaluation.system == system
        and (score := evaluation.by_name.get(("local", TEXT_METRIC, TEXT_K, task))) is not None
    }
    return Summary(values) if values else None


def difference(a: Summary | None, b: Summary | None) -> Summary | None:
    """a - b over the seeds that both have; None without such a seed."""
    if a is None or b is None:
        return None
    paired = {seed: a.values[seed] - b.values[seed] for seed in a.values if seed in b.values}
    return Summary(paired) if paired else None


class Comparison(NamedTuple):
    """Two systems whose difference says something."""

    label: str
    """What is subtracted from what, or the model that is compared with itself."""
    kind: str
    """MODELS or INSTRUCTIONS: in what the two differ."""
    a: System
    b: System


MODELS, INSTRUCTIONS = "models", "with − without instructions"
COMPARED = {"M_hard": ("control", "M_rand"), "continual": ("M_hard", "joint", "joint (longer)")}


def compared_systems(systems: Sequence[System]) -> list[Comparison]:
    """Pairs whose difference says something.

    M_hard minus the control isolates which negatives are mined from having more of them; M_hard minus M_rand is the
    paper's comparison; with minus without instructions is that of Table 5; what continual fine-tuning changes, and
    whether it is better than both at once, is that of Table 6.
    """
    pairs = []
    for a in systems:
        for other in COMPARED.get(a.model, ()):
            b = a._replace(model=other)
            if b in systems:
                pairs.append(Comparison(f"{a.model} − {other}", MODELS, a, b))
    for a in systems:
        without = [
            b
            for b in systems
            if (b.model, b.encoder) == (a.model, a.encoder) and (a.instructions, b.instructions) == ("with", "without")
        ]
        pairs += [Comparison(a.model, INSTRUCTIONS, a, b) for b in without[:1]]
    return pairs


def _task_by_number(score: Score) -> Task | None:
    """A task of no known table: M-BEIR's number at the end of its name says the modalities."""
    _, _, number = score.task.rpartition("_task")
    if not number.isdecimal() or int(number) not in MBEIR_MODALITIES:
        return None
    query, candidate = MBEIR_MODALITIES[int(number)]
    return Task(score.dataset, -1, int(number), PAPER_ID[int(number)], query, candidate)
