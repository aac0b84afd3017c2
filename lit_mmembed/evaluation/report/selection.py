"""Which queries the gallery shows: chosen by a rule, successes and failures of the first and the last model alike.

Shapes: Q judged queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lit_mmembed.evaluation.report.collect import Evaluation, Run, table_order
from lit_mmembed.types import Ranking, Task, stable_id

if TYPE_CHECKING:
    import numpy as np

    from lit_mmembed.data.directory import DataDirectory
    from lit_mmembed.evaluation.qrels import Qrels

RUN_FILE = "run.parquet"
DEPTH = 5
QUERIES_OF_A_PAGE = 32
MOST_PER_TASK = 4


class Outcome(NamedTuple):
    """How the first and the last model did on a query: the positive is in the top 5, or it is not."""

    words: str
    share: float
    """Of the task's queries."""
    qid: str
    """The query shown for it."""
    positives: frozenset[str]
    """Its relevant documents, as the qrels say."""


def shown_evaluations(run: Run) -> list[Evaluation]:
    """One evaluation per model, of the first group of systems (with instructions, if any) and its first common seed.

    All are of the data and the split of the first: queries of others are not judged by its qrels.
    """
    usable = [evaluation for evaluation in run.evaluations if (evaluation.stage.folder / RUN_FILE).exists()]
    if not usable:
        return []
    first = min(usable, key=lambda evaluation: table_order(evaluation.system))
    alike = [
        evaluation
        for evaluation in usable
        if evaluation.system[1:] == first.system[1:] and _searched(run, evaluation) == _searched(run, first)
    ]
    models = {evaluation.system for evaluation in alike}
    common = [seed for seed in sorted({e.seed for e in alike}) if {e.system for e in alike if e.seed == seed} == models]
    seed = common[0] if common else min(evaluation.seed for evaluation in alike)
    return sorted((evaluation for evaluation in alike if evaluation.seed == seed), key=lambda e: table_order(e.system))


def split_of(evaluation: Evaluation) -> str:
    """The split whose queries were asked."""
    return str(evaluation.stage.arguments.get("split") or "test")


def _searched(run: Run, evaluation: Evaluation) -> tuple[Path, str]:
    return run.locate(str(evaluation.stage.arguments.get("data"))), split_of(evaluation)


def read_top(path: Path) -> Ranking:
    """The best few documents of each query, without reading the rest of the ranking."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lit_mmembed.retrieval.ranking import from_pairs, is_parquet, read_ranking

    if not is_parquet(path) or "rank" not in pq.read_schema(path).names:
        return read_ranking(path)
    table = pq.read_table(path, columns=["qid", "did", "score"], filters=[("rank", "<=", DEPTH)])
    qids, dids = (table[name].cast(pa.large_string()).combine_chunks() for name in ("qid", "did"))
    return from_pairs(qids, dids, table["score"].to_numpy())


def select(directory: DataDirectory, split: str, rankings: Mapping[str, Ranking]) -> dict[Task, list[Outcome]]:
    """Choose queries per task: one of each outcome that occurs, the one whose id has the smallest hash."""
    from lit_mmembed.data.labels import query_labels
    from lit_mmembed.evaluation.per_query import JudgedRun, groups_of
    from lit_mmembed.evaluation.qrels import read_qrels

    qrels = read_qrels(directory.qrels_path(split))
    found = {
        model: JudgedRun(ranking, qrels, file=Path(model)).values("hit", DEPTH) > 0
        for model, ranking in rankings.items()
    }
    groups = groups_of(qrels, query_labels(directory.queries(split)))
    wanted = max(1, min(MOST_PER_TASK, QUERIES_OF_A_PAGE // max(1, len(groups))))
    return {group.task: _outcomes(qrels, group.rows, found)[:wanted] for group in groups if group.task is not None}


def _outcomes(qrels: Qrels, rows: np.ndarray, found: Mapping[str, np.ndarray]) -> list[Outcome]:
    outcomes = []
    for words, mask in _masks(found):
        members = rows[mask[rows]]
        if len(members):
            chosen = min(members, key=lambda row: (stable_id(str(qrels.query_ids[row])), row))
            judged = qrels.document[(qrels.query == chosen) & (qrels.relevance > 0)]
            positives = frozenset(str(did) for did in qrels.document_ids[judged])
            outcomes.append(Outcome(words, len(members) / len(rows), str(qrels.query_ids[chosen]), positives))
    return outcomes


def _masks(found: Mapping[str, np.ndarray]) -> Sequence[tuple[str, np.ndarray]]:
    models = list(found)
    first, last = found[models[0]], found[models[-1]]
    if len(models) == 1:
        return [(f"found by {models[0]}", first), (f"not found by {models[0]}", ~first)]
    return [
        (f"found by {models[-1]}, not by {models[0]}", last & ~first),
        (f"found by {models[0]}, not by {models[-1]}", first & ~last),
        ("found by neither", ~first & ~last),
        ("found by both", first & last),
    ]
