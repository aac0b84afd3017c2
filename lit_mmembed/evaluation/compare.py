"""Do two systems differ? Paired tests over the same queries, per task and over all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from lit_mmembed.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from lit_mmembed.evaluation.per_query import Group

SAMPLES = 10_000


class Comparison(NamedTuple):
    """One metric of two runs on the same queries."""

    task: str
    """Task name, or "all": all queries together."""
    metric: str
    k: int
    n: int
    """Number of queries."""
    a: float
    b: float
    difference: float
    """a - b."""
    low: float
    high: float
    """95 % interval of the difference, by paired bootstrap."""
    p: float
    """Two-sided, by the sign-flip randomisation test."""


def compare(
    run_a: str | Path,
    run_b: str | Path,
    qrels: str | Path,
    *,
    metric: str = "hit",
    k: int = 5,
    queries: str | Path | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> list[Comparison]:
    """Test whether two runs differ in a metric, per task and over all queries.

    Args:
        run_a: The first system's run.
        run_b: The second's.
        qrels: The judgements of both; a judged query that a run lacks counts 0 there.
        metric: "hit", "recall", "ndcg", "map" or "mrr".
        k: Its cut-off.
        queries: M-BEIR's JSONL, a shard set or a data directory: the task of each query. Without it, tasks come from
            the qrels' fifth column.
        samples: Resamples for the interval, and sign flips for p.
        seed: Seeds both; the draws of a task depend on the seed and its name alone.

    Raises:
        InputError: an unknown metric, or anything broken or unknown in the files.
    """
    import numpy as np

    from lit_mmembed.evaluation.mbeir import check_cutoffs
    from lit_mmembed.evaluation.per_query import Group, JudgedRun, groups_of, labels
    from lit_mmembed.evaluation.qrels import read_qrels
    from lit_mmembed.metrics.ranking import METRICS
    from lit_mmembed.retrieval.ranking import read_ranking

    check_cutoffs([k])
    if metric not in METRICS:
        raise InputError(f"metric {metric!r} is unknown", fix=f"use one of {', '.join(METRICS)}")
    if samples < 1:
        raise InputError(f"{samples} samples are too few", fix=f"give at least 1, such as {SAMPLES}")
    judgements = read_qrels(qrels)
    asked, _ = labels(judgements, queries, None, pool="global")
    a, b = (JudgedRun(read_ranking(run), judgements, file=Path(run)).values(metric, k) for run in (run_a, run_b))
    groups = [group for group in groups_of(judgements, asked) if group.task is not None]
    groups.append(Group(None, np.arange(len(judgements.query_ids))))
    return [_compared(group, (a, b), (metric, k), (samples, seed)) for group in groups]


def _compared(
    group: Group, values: tuple[np.ndarray, np.ndarray], measured: tuple[str, int], draws: tuple[int, int]
) -> Comparison:
    import numpy as np

    from lit_mmembed.metrics.bootstrap import paired_test

    a, b = (per_query[group.rows] for per_query in values)
    samples, seed = draws
    generator = np.random.default_rng([seed, crc32(group.name.encode())])
    tested = paired_test(a, b, samples, generator)
    return Comparison(group.name, *measured, len(group.rows), float(a.mean()), float(b.mean()), *tested)
