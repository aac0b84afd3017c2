"""M-BEIR's protocol over a run and qrels of any system: metrics per task and their averages as the paper takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lit_mmembed.errors import InputError
from lit_mmembed.types import Score


def evaluate(
    *,
    run: str | Path,
    qrels: str | Path,
    queries: str | Path | None = None,
    candidates: str | Path | None = None,
    k: Sequence[int] = (1, 5, 10),
    json: str | Path | None = None,
    pool: str = "global",
    bootstrap: int = 0,
    seed: int = 0,
    record: Mapping[str, Any] | None = None,
) -> list[Score]:
    """Score a run: hit@k (which M-BEIR calls recall), true recall@k, nDCG@k, MAP@k, MRR@k and modality accuracy@k.

    Every judged query counts; one that the run lacks counts 0. Several wordings of a query (`#w1`, `#w2`, ...) count
    as their mean. Averages are plain means over tasks, as in Table 1. The metric "headline" is hit@k at each task's
    own cut-off.

    Args:
        run: TREC (also M-BEIR's seven columns) or Parquet.
        qrels: Four columns, or M-BEIR's five.
        queries: M-BEIR's JSONL, a shard set or a data directory: the task of each query. Without it, tasks come from
            the qrels' fifth column, and there is a row "all" over all queries.
        candidates: The pool in one of the same forms: modality accuracy needs it.
        k: Cut-offs; each task's own is added.
        json: Where to write the scores, one JSON object a line.
        pool: "global" or "local": what the run was searched in. Qrels may name documents that a local pool lacks.
        bootstrap: Resamples for 95 % intervals over queries; 0 for none.
        seed: Seeds the resamples.
        record: What produced the run, beside what its file says.

    Raises:
        InputError: anything broken or unknown in the files; names file and line.
    """
    check_cutoffs(k)
    if bootstrap < 0:
        raise InputError(f"{bootstrap} resamples are too few", fix="give 0 for no intervals, or some such as 1000")
    from lit_mmembed.evaluation.cells import average_rows, row_of, scores_of, values_of
    from lit_mmembed.evaluation.per_query import JudgedRun, groups_of, labels
    from lit_mmembed.evaluation.qrels import read_qrels
    from lit_mmembed.evaluation.scores import write_scores
    from lit_mmembed.retrieval.ranking import read_ranking

    judgements = read_qrels(qrels)
    asked, documents = labels(judgements, queries, candidates, pool=pool)
    groups = groups_of(judgements, asked)
    judged = JudgedRun(read_ranking(run), judgements, file=Path(run))
    values = values_of(judged, groups, documents, k)
    rows = [row_of(group, values, k, (bootstrap, seed)) for group in groups]
    settings = {"bootstrap": bootstrap, "seed": seed, "missing_queries": judged.missing}
    what = _record(Path(run), Path(qrels), {**(record or {}), "evaluation": settings})
    scores = [score for row in (*rows, *average_rows(groups, rows, k)) for score in scores_of(row, pool, what)]
    if json is not None:
        write_scores(json, scores)
    return scores


def check_cutoffs(k: Sequence[int]) -> None:
    """Raise InputError unless there are cut-offs and each is at least 1."""
    if not k or min(k) < 1:
        raise InputError(f"k {list(k)} is not a list of cut-offs", fix="give whole numbers from 1, such as 1 5 10")


def _record(run: Path, qrels: Path, what: Mapping[str, Any]) -> dict[str, Any]:
    """What made the run, as its file and the caller say, and the hashes of what was scored."""
    from lit_mmembed.files import file_hash
    from lit_mmembed.record import run_record
    from lit_mmembed.retrieval.ranking import ranking_record

    hashes = {"run_hash": file_hash(run), "qrels_hash": file_hash(qrels)}
    return {**run_record(), **ranking_record(run), **what, **hashes}
