"""Metrics of composed image retrieval: CIRCO's average precision, and recall of the one picture that was meant."""

from __future__ import annotations

import numpy as np

from lit_mmembed.metrics.ranking import Judged


def capped_average_precision(judged: Judged, k: int) -> np.ndarray:
    """[Q] CIRCO's AP@k: the sum of the precision at each positive's rank up to k, over min(positives, k).

    trec_eval's map_cut divides by all positives, so that it cannot reach 1 where a query has more than k.
    """
    inside = judged.rank <= k
    precision = judged.place[inside] / judged.rank[inside]
    total = np.bincount(judged.query[inside], weights=precision, minlength=judged.queries)
    return total / np.clip(judged.positives, 1, k)


def found_within(rank: np.ndarray, k: int) -> np.ndarray:
    """[Q] 1 where the target's rank [Q], from 1, is at most k, else 0. Rank 0: it was not retrieved."""
    return ((rank > 0) & (rank <= k)).astype(np.float64)
