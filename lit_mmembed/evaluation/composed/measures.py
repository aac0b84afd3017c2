"""What each protocol measures. Definitions: the data sets' own evaluation code; docs/composed.md writes them out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lit_mmembed.evaluation.composed.run import ComposedRun
from lit_mmembed.metrics.composed import capped_average_precision, found_within

CIRCO_CUTOFFS = (5, 10, 25, 50)
CIRR_CUTOFFS = (1, 5, 10, 50)
SUBSET_CUTOFFS = (1, 2, 3)
FASHIONIQ_CUTOFFS = (10, 50)
SEMANTIC_CUTOFF = 10
CIRCO_MAP, SEMANTIC_MAP = "circo_map", "semantic_map"
TARGET_RECALL, SUBSET_RECALL = "target_recall", "subset_recall"
CIRR_AVERAGE, FASHIONIQ_AVERAGE = "cirr_average", "fashioniq_average"


class Measured(NamedTuple):
    """A metric of some queries; its value is their mean."""

    metric: str
    k: int
    task: str
    dataset: str
    values: np.ndarray
    """[n] one a query."""


def circo(run: ComposedRun) -> list[Measured]:
    """Return mAP@5/10/25/50 over all answers, recall of the target at the same depths, and mAP@10 of each aspect."""
    task = run.queries[0].task
    judged, rank = run.judged(lambda query: query.positives), run.rank_of_target()
    found = [
        Measured(CIRCO_MAP, k, task.name, task.dataset, run.per_query(capped_average_precision(judged, k)))
        for k in CIRCO_CUTOFFS
    ]
    found += [
        Measured(TARGET_RECALL, k, task.name, task.dataset, run.per_query(found_within(rank, k))) for k in CIRCO_CUTOFFS
    ]
    precision = run.per_query(capped_average_precision(judged, SEMANTIC_CUTOFF))
    for aspect in sorted({aspect for query in run.queries for aspect in query.aspects}):
        rows = np.array([aspect in query.aspects for query in run.queries])
        name = f"{task.name}:{aspect}"
        found.append(Measured(SEMANTIC_MAP, SEMANTIC_CUTOFF, name, task.dataset, precision[rows]))
    return found


def cirr(run: ComposedRun) -> list[Measured]:
    """Return recall of the target at 1, 5, 10 and 50."""
    return _recalls(run, TARGET_RECALL, CIRR_CUTOFFS)


def cirr_subset(run: ComposedRun) -> list[Measured]:
    """Return recall of the target at 1, 2 and 3; `run` ranks the five other pictures of each query's subset alone."""
    return _recalls(run, SUBSET_RECALL, SUBSET_CUTOFFS)


def fashioniq(run: ComposedRun) -> list[Measured]:
    """Return recall of the target at 10 and 50 in each category."""
    return _recalls(run, TARGET_RECALL, FASHIONIQ_CUTOFFS)


def _recalls(run: ComposedRun, metric: str, cutoffs: tuple[int, ...]) -> list[Measured]:
    rank = run.rank_of_target()
    tasks = list(dict.fromkeys(query.task for query in run.queries))
    rows = {task: np.array([query.task == task for query in run.queries]) for task in tasks}
    return [
        Measured(metric, k, task.name, task.dataset, run.per_query(found_within(rank, k))[rows[task]])
        for task in tasks
        for k in cutoffs
    ]
