"""A metric of every judged query, and which task each query belongs to: what scores and tests between runs share.

Shapes: Q judged queries, A rankings of the run (several of one query under the prompt policy `all`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lit_mmembed.data.labels import CandidateLabels, QueryLabels, known_tasks, read_candidates, read_queries, task_of
from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.qrels import Qrels, check_known, judge
from lit_mmembed.metrics.modality import modality_accuracy
from lit_mmembed.metrics.ranking import METRICS
from lit_mmembed.retrieval.ids import places_in
from lit_mmembed.types import Ranking, Task

ALL = "all"
MODALITY_ACCURACY = "modality_accuracy"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """The queries that one row of a result is measured on."""

    task: Task | None
    """None: all queries together, whatever their task."""
    rows: np.ndarray
    """[n] rows among the judged queries."""

    @property
    def name(self) -> str:
        """The task's name, or "all"."""
        return ALL if self.task is None else self.task.name

    @property
    def dataset(self) -> str:
        """The dataset's name, or "all"."""
        return ALL if self.task is None else self.task.dataset


class JudgedRun:
    """A run seen through its qrels: gives metrics per judged query, averaged over the wordings of a query.

    Args:
        ranking: The run.
        qrels: The judgements; a judged query that the run lacks counts 0, and their number is logged.
        file: The run's path, named by errors and warnings.
    """

    def __init__(self, ranking: Ranking, qrels: Qrels, *, file: Path) -> None:
        self.ranking = ranking
        self.qrels = qrels
        self.file = file
        try:
            self._judged, self._owner = judge(ranking, qrels)
        except InputError as unknown:
            raise InputError(unknown.problem, file=file, fix=unknown.fix) from None
        self._wordings = np.bincount(self._owner, minlength=len(qrels.query_ids))
        self.missing = int((self._wordings == 0).sum())
        if self.missing:
            log.warning("%s: %d of %d judged queries are missing and count 0", file, self.missing, len(self._wordings))

    def values(self, metric: str, k: int) -> np.ndarray:
        """[Q] a ranking metric (a name of METRICS) of every judged query."""
        return self._per_query(METRICS[metric](self._judged, k))

    def modality_accuracy(self, modality: np.ndarray, wanted: np.ndarray, k: int) -> np.ndarray:
        """[Q] M.A.@k, given the codes [D] of the run's documents and those that the judged queries [Q] ask for."""
        rows = modality[self.ranking.document]
        return self._per_query(modality_accuracy(rows, self.ranking.offsets, wanted[self._owner], k))

    def _per_query(self, values: np.ndarray) -> np.ndarray:
        total = np.bincount(self._owner, weights=values, minlength=len(self._wordings))
        return total / np.maximum(self._wordings, 1)


def groups_of(qrels: Qrels, queries: QueryLabels | None) -> list[Group]:
    """Sort the judged queries into tasks, in the order of M-BEIR's table.

    The task comes from the queries' file, or else from the qrels' fifth column and the id's prefix. Without the former
    there is also one group of all queries.
    """
    everything = [] if queries is not None else [Group(None, np.arange(len(qrels.query_ids)))]
    if queries is not None:
        check_known(qrels, queries.ids, side="query", file=queries.file)
        owners = [queries.tasks[place] for place in queries.task[places_in(qrels.query_ids, queries.ids)]]
    elif qrels.task_id is not None:
        owners = _tasks_of_fifth_column(qrels)
    else:
        return everything
    rows: dict[Task, list[int]] = {}
    for row, task in enumerate(owners):
        rows.setdefault(task, []).append(row)
    return [Group(task, np.array(rows[task])) for task in sorted(rows, key=_table_order)] + everything


def labels(
    qrels: Qrels, queries: str | Path | None, candidates: str | Path | None, *, pool: str
) -> tuple[QueryLabels | None, CandidateLabels | None]:
    """Read the labels that are given and check the qrels against them.

    A local pool may lack judged documents: some positives of OVEN and INFOSEEK lie in each other's pool.
    """
    asked = None if queries is None else read_queries(queries)
    documents = None if candidates is None else read_candidates(candidates)
    if documents is not None and pool != "local":
        check_known(qrels, documents.ids, side="document", file=documents.file)
    return asked, documents


def document_modality(run: JudgedRun, candidates: CandidateLabels) -> np.ndarray:
    """[D] modality codes of the run's documents; InputError when it has one that the pool lacks."""
    places = places_in(run.ranking.document_ids, candidates.ids)
    if (places < 0).any():
        did = run.ranking.document_ids[int((places < 0).argmax())]
        problem = f"document {did} of the run is not in {candidates.file}"
        raise InputError(problem, file=run.file, fix="give the pool that was searched")
    return candidates.modality[places]


def _tasks_of_fifth_column(qrels: Qrels) -> list[Task]:
    assert qrels.task_id is not None
    tasks = known_tasks(qrels.file) if qrels.file else MBEIR_TASKS
    try:
        known = {pair: task_of(f"{pair[0]}:", pair[1], tasks) for pair in set(_numbers(qrels))}
    except InputError as wrong:
        raise InputError(wrong.problem, file=qrels.file, fix=wrong.fix) from None
    return [known[pair] for pair in _numbers(qrels)]


def _numbers(qrels: Qrels) -> list[tuple[str, int]]:
    """The dataset's and the task's number of each query."""
    assert qrels.task_id is not None
    prefixes = (qid.partition(":")[0] if ":" in qid else "" for qid in qrels.query_ids)
    return list(zip(prefixes, qrels.task_id.tolist(), strict=True))


def _table_order(task: Task) -> tuple[int, int, str]:
    return task.paper_id, MBEIR_TASKS.index(task) if task in MBEIR_TASKS else len(MBEIR_TASKS), task.name
