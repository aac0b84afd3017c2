"""The numbers of a result table: means per task, with their resamples, and the paper's averages of them.

Shapes: Q judged queries, S resamples of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np

from lit_mmembed.data.labels import CandidateLabels
from lit_mmembed.data.tasks import averages
from lit_mmembed.evaluation.per_query import MODALITY_ACCURACY, Group, JudgedRun, document_modality
from lit_mmembed.metrics.bootstrap import bootstrap_means, interval
from lit_mmembed.metrics.ranking import METRICS
from lit_mmembed.types import Score

HEADLINE = "headline"
"""hit@k at each task's own cut-off (10 for the two fashion datasets, else 5). Its averages have k = 0."""

Key = tuple[str, int]
"""Metric and cut-off."""


class Cell(NamedTuple):
    """One mean, and the means [S] of its resamples (none without a bootstrap)."""

    value: float
    resampled: np.ndarray


class Row(NamedTuple):
    """The numbers of one task, of all queries, or of an average."""

    task: str
    dataset: str
    n: int
    cells: dict[Key, Cell]


def values_of(
    run: JudgedRun, groups: Sequence[Group], candidates: CandidateLabels | None, k: Sequence[int]
) -> dict[Key, np.ndarray]:
    """[Q] of every metric at `k` and at the tasks' own cut-offs, in the order in which results are listed."""
    tasks = [group.task for group in groups if group.task is not None]
    cutoffs = sorted({*k, *(task.cutoff for task in tasks)})
    values = {(metric, cutoff): run.values(metric, cutoff) for metric in METRICS for cutoff in cutoffs}
    if candidates is None or not tasks:
        return values
    wanted = np.zeros(len(run.qrels.query_ids), dtype=np.int64)
    for group in groups:
        if group.task is not None:
            wanted[group.rows] = group.task.candidate_modality.code
    modality = document_modality(run, candidates)
    accuracy = {(MODALITY_ACCURACY, cutoff): run.modality_accuracy(modality, wanted, cutoff) for cutoff in cutoffs}
    return values | accuracy


def row_of(group: Group, values: Mapping[Key, np.ndarray], k: Sequence[int], draws: tuple[int, int]) -> Row:
    """Average a group's queries at `k` and at its own cut-off.

    Args:
        group: The queries.
        values: [Q] per metric.
        k: The cut-offs asked for.
        draws: Number of resamples and seed; a group's draws depend on the seed and its name alone.
    """
    own = 0 if group.task is None else group.task.cutoff
    keys = [key for key in values if key[1] in {*k, own}]
    table = np.stack([values[key][group.rows] for key in keys], axis=1)
    samples, seed = draws
    resampled = bootstrap_means(table, samples, np.random.default_rng([seed, crc32(group.name.encode())]))
    cells = {key: Cell(float(table[:, place].mean()), resampled[:, place]) for place, key in enumerate(keys)}
    if own:
        cells[HEADLINE, own] = cells["hit", own]
    return Row(group.name, group.dataset, len(group.rows), cells)


def average_rows(groups: Sequence[Group], rows: Sequence[Row], k: Sequence[int]) -> list[Row]:
    """Average tasks as the paper does: plain means over all, single-modal-query and multi-modal-query rows."""
    members: dict[str, list[Row]] = {}
    for group, row in zip(groups, rows, strict=True):
        if group.task is not None:
            for name in averages({group.name: 1.0}, [group.task]):
                members.setdefault(name, []).append(row)
    return [_average(name, members[name], k) for name in sorted(members, key=_reported)]


def scores_of(row: Row, pool: str, record: Mapping[str, object]) -> list[Score]:
    """The numbers of a row as lines of a result file."""
    scores = []
    for (metric, k), cell in row.cells.items():
        ends = interval(cell.resampled[:, None]) if len(cell.resampled) else None
        low, high = (None, None) if ends is None else (float(ends[0][0]), float(ends[1][0]))
        scores.append(Score(metric, k, cell.value, row.n, row.task, row.dataset, pool, low, high, record))
    return scores


def _average(name: str, rows: Sequence[Row], k: Sequence[int]) -> Row:
    keys = [key for key in rows[0].cells if key[0] != HEADLINE and key[1] in k]
    cells = {key: _mean([row.cells[key] for row in rows]) for key in keys}
    cells[HEADLINE, 0] = _mean([cell for row in rows for key, cell in row.cells.items() if key[0] == HEADLINE])
    return Row(name, "all", sum(row.n for row in rows), cells)


def _mean(cells: Sequence[Cell]) -> Cell:
    return Cell(float(np.mean([cell.value for cell in cells])), np.mean([cell.resampled for cell in cells], axis=0))


def _reported(name: str) -> int:
    return ("avg_all", "avg_single_modal", "avg_multi_modal").index(name)
