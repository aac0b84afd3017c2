"""Ranking metrics of every query at once, from the few places where positives stand in the rankings.

Shapes: Q queries, H positives that were retrieved, P judged positives. Only the H places enter a metric, so the cost
does not depend on the rankings' depth. Definitions are trec_eval's; the order of ties is not: here the ranking is
ordered by score down, then document id *up*, while trec_eval and pytrec_eval order ties by document id *down* (compare
with them on rankings without ties).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Judged:
    """Rankings seen through their judgements. Positive = relevance > 0."""

    queries: int
    """Q."""
    query: np.ndarray
    """[H] the query of each positive that was retrieved, ascending."""
    rank: np.ndarray
    """[H] its rank, from 1, ascending within a query."""
    relevance: np.ndarray
    """[H] its relevance."""
    judged_query: np.ndarray
    """[P] the query of each judged positive, retrieved or not, ascending."""
    judged_relevance: np.ndarray
    """[P] its relevance, descending within a query."""

    @cached_property
    def positives(self) -> np.ndarray:
        """[Q] number of judged positives."""
        return np.bincount(self.judged_query, minlength=self.queries)

    @cached_property
    def place(self) -> np.ndarray:
        """[H] 1 for a query's first positive that was retrieved, 2 for its second, ..."""
        return _numbered(self.query)

    @cached_property
    def ideal_rank(self) -> np.ndarray:
        """[P] the rank of each judged positive in the best ranking there could be."""
        return _numbered(self.judged_query)


def hit(judged: Judged, k: int) -> np.ndarray:
    """[Q] 1 where a positive is among the top k, else 0: what M-BEIR calls recall@k (trec_eval: success_k)."""
    return (_retrieved(judged, k) > 0).astype(np.float64)


def recall(judged: Judged, k: int) -> np.ndarray:
    """[Q] share of a query's positives among the top k (trec_eval: recall_k); 0 for a query without positives."""
    return _retrieved(judged, k) / np.maximum(judged.positives, 1)


def ndcg(judged: Judged, k: int) -> np.ndarray:
    """[Q] normalised discounted cumulative gain, gain = relevance, discount log2(rank + 1) (trec_eval: ndcg_cut_k)."""
    best = _gain(judged.judged_query, judged.ideal_rank, judged.judged_relevance, queries=judged.queries, k=k)
    found = _gain(judged.query, judged.rank, judged.relevance, queries=judged.queries, k=k)
    return np.divide(found, best, out=np.zeros(judged.queries), where=best > 0)


def average_precision(judged: Judged, k: int | None = None) -> np.ndarray:
    """[Q] mean over all positives of the precision at their rank, 0 below k (trec_eval: map_cut_k; map for None)."""
    inside = _inside(judged, k)
    precision = judged.place[inside] / judged.rank[inside]
    total = np.bincount(judged.query[inside], weights=precision, minlength=judged.queries)
    return total / np.maximum(judged.positives, 1)


def reciprocal_rank(judged: Judged, k: int | None = None) -> np.ndarray:
    """[Q] 1 / rank of the first positive, 0 if none is among the top k (trec_eval: recip_rank for None)."""
    first = (judged.place == 1) & _inside(judged, k)
    value = np.zeros(judged.queries)
    value[judged.query[first]] = 1.0 / judged.rank[first]
    return value


METRICS = {"hit": hit, "recall": recall, "ndcg": ndcg, "map": average_precision, "mrr": reciprocal_rank}
"""The names of a result file -> function of (judged, k)."""


def _inside(judged: Judged, k: int | None) -> np.ndarray:
    return np.ones(len(judged.rank), dtype=bool) if k is None else judged.rank <= k


def _retrieved(judged: Judged, k: int) -> np.ndarray:
    """[Q] number of positives among the top k."""
    return np.bincount(judged.query[judged.rank <= k], minlength=judged.queries)


def _numbered(query: np.ndarray) -> np.ndarray:
    """Number the rows of each query from 1; `query` is ascending."""
    count = np.bincount(query)
    return np.arange(1, len(query) + 1) - np.repeat(np.cumsum(count) - count, count)


def _gain(query: np.ndarray, rank: np.ndarray, relevance: np.ndarray, *, queries: int, k: int) -> np.ndarray:
    """[Q] discounted cumulative gain of the top k."""
    inside = np.flatnonzero(rank <= k)
    discount = np.concatenate([[1.0], np.log2(np.arange(2, k + 2))])
    gain = relevance[inside] / discount[rank[inside]]
    return np.bincount(query[inside], weights=gain, minlength=queries)
