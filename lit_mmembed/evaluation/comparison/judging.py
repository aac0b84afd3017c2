"""Rankings seen through their qrels: what is measured of each query, and whether rankings can be compared.

Shapes: Q judged queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.labels import CandidateLabels, query_labels
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.comparison.runs import Evaluated
from lit_mmembed.evaluation.per_query import MODALITY_ACCURACY, Group, JudgedRun, document_modality, groups_of
from lit_mmembed.evaluation.qrels import Qrels, read_qrels
from lit_mmembed.metrics.ranking import METRICS
from lit_mmembed.retrieval.ids import base_query_ids, places_in
from lit_mmembed.retrieval.ranking import lengths, read_ranking
from lit_mmembed.types import Task


class Measure(NamedTuple):
    """What is measured."""

    metric: str
    k: int | None
    """None: each task's own cut-off."""

    def cutoff(self, task: Task) -> int:
        """k for a task."""
        return task.cutoff if self.k is None else self.k


@dataclass(frozen=True)
class Judgements:
    """What all runs are judged by."""

    directory: DataDirectory
    split: str
    qrels: Qrels
    groups: Sequence[Group]
    """The queries of each task."""
    candidates: CandidateLabels

    @property
    def tasks(self) -> list[Task]:
        """In the order of the groups."""
        return [group.task for group in self.groups if group.task is not None]


class Values(NamedTuple):
    """One evaluation per query."""

    by_measure: Mapping[Measure, np.ndarray]
    """[Q] each."""
    rank: np.ndarray
    """[Q] of the first positive; one more than the depth where none was found."""
    depth: int
    """Documents a query."""
    answered: np.ndarray
    """[Q] whether the ranking has the query."""


def read_judgements(directory: DataDirectory, split: str) -> Judgements:
    """Read qrels, tasks and the documents' modalities; no sample is opened."""
    qrels = read_qrels(directory.qrels_path(split))
    groups = groups_of(qrels, query_labels(directory.queries(split)))
    reader = directory.candidates(split)
    candidates = CandidateLabels(reader.ids, reader.modality, reader.folder, lambda row: (None, None))
    return Judgements(directory, split, qrels, groups, candidates)


def measures_of(metric: str | None, k: int | None) -> tuple[Measure, ...]:
    """The metric asked for (hit without a name), and modality accuracy@1 beside it.

    Raises:
        InputError: no such metric, or a cut-off below 1.
    """
    known = (*METRICS, MODALITY_ACCURACY)
    if metric is not None and metric not in known:
        raise InputError(f"metric {metric!r} is unknown", fix=f"use one of {', '.join(known)}")
    if k is not None and k < 1:
        raise InputError(f"k {k} is no cut-off", fix="give a whole number from 1, such as 5")
    if metric == MODALITY_ACCURACY:
        return (Measure(metric, k or 1),)
    return Measure(metric or "hit", k), Measure(MODALITY_ACCURACY, 1)


def values_of(
    evaluations: Sequence[Evaluated], judgements: Judgements, measures: Sequence[Measure]
) -> dict[Path, Values]:
    """Read and judge every ranking: folder -> values.

    Raises:
        InputError: rankings of different queries, or of different depths with a cut-off below one of them.
    """
    judged: dict[Path, Values] = {}
    for evaluation in evaluations:
        run = JudgedRun(read_ranking(evaluation.ranking), judgements.qrels, file=evaluation.ranking)
        judged[evaluation.folder] = _values(run, judgements, measures)
    _check_alike(evaluations, judgements, judged)
    _check_depth(evaluations, judged, max(m.cutoff(task) for m in measures for task in judgements.tasks))
    deepest = min(values.depth for values in judged.values())
    return {folder: v._replace(rank=np.minimum(v.rank, deepest + 1), depth=deepest) for folder, v in judged.items()}


def _values(run: JudgedRun, judgements: Judgements, measures: Sequence[Measure]) -> Values:
    count = len(judgements.qrels.query_ids)
    depth = int(lengths(run.ranking).max())
    answered = np.zeros(count, dtype=bool)
    answered[places_in(base_query_ids(run.ranking.query_ids), judgements.qrels.query_ids)] = True
    reciprocal = run.values("mrr", depth)  # of several wordings the mean: their harmonic mean rank
    rank = np.divide(1.0, reciprocal, out=np.full(count, np.inf), where=reciprocal > 0)
    return Values({what: _by_query(run, judgements, what) for what in measures}, rank, depth, answered)


def _by_query(run: JudgedRun, judgements: Judgements, what: Measure) -> np.ndarray:
    """[Q] a measure at each query's cut-off."""
    values = np.zeros(len(judgements.qrels.query_ids))
    if what.metric == MODALITY_ACCURACY:
        modality = document_modality(run, judgements.candidates)
        wanted = np.zeros(len(values), dtype=np.int64)
        for group in judgements.groups:
            if group.task is not None:
                wanted[group.rows] = group.task.candidate_modality.code
    for cutoff in {what.cutoff(task) for task in judgements.tasks}:
        found = (
            run.modality_accuracy(modality, wanted, cutoff)
            if what.metric == MODALITY_ACCURACY
            else run.values(what.metric, cutoff)
        )
        for group in judgements.groups:
            if group.task is not None and what.cutoff(group.task) == cutoff:
                values[group.rows] = found[group.rows]
    return values


def _check_alike(evaluations: Sequence[Evaluated], judgements: Judgements, judged: Mapping[Path, Values]) -> None:
    """Refuse rankings of different queries: what one of them lacks would count as lost."""
    first = evaluations[0]
    for evaluation in evaluations[1:]:
        differs = judged[evaluation.folder].answered != judged[first.folder].answered
        if differs.any():
            qid = judgements.qrels.query_ids[int(differs.argmax())]
            problem = f"answers other queries than {first.ranking}: {qid} is in one of them only"
            raise InputError(problem, file=evaluation.ranking, fix="compare evaluations of the same queries")


def _check_depth(evaluations: Sequence[Evaluated], judged: Mapping[Path, Values], cutoff: int) -> None:
    shortest = min(evaluations, key=lambda evaluation: judged[evaluation.folder].depth)
    depths = {judged[evaluation.folder].depth for evaluation in evaluations}
    if len(depths) > 1 and cutoff > min(depths):
        problem = (
            f"has {min(depths)} documents a query, others have up to {max(depths)}: too few for a cut-off of {cutoff}"
        )
        raise InputError(problem, file=shortest.ranking, fix="evaluate it again with --depth, or give a smaller --k")
