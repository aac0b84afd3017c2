"""The declared order of a ranking: scores by one fixed sum, then ties by the document's id.

A matrix product's last bits depend on the shape of its tiles. The few documents that it has chosen are therefore scored
again, each by the same sum over d in fp64, rounded to fp32: the same pair has the same score whatever tile, block or
index found it, and documents with the same vector tie exactly.

Shapes: Q queries, K chosen documents per query, N documents, d dimensions, M documents of one query at a time.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

GATHERED_NUMBERS = 1 << 20
"""Numbers of gathered vectors in memory at a time: 8 MiB in fp64."""
UNIT_ROUNDOFF = 2.0**-24
"""Of fp32."""


def settle(
    query_Qd: np.ndarray, candidate_Nd: np.ndarray, row_QK: np.ndarray, *, k: int, tie_rank: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Score the chosen rows [Q, K] again and keep the best k; rows of -1 are padding.

    Returns:
        Scores [Q, k] float32 and rows [Q, k] int64, fewer than k where K is; -inf and -1 where a query has too few.
    """
    kept = min(k, row_QK.shape[1])
    score_QK = fixed_scores(query_Qd, candidate_Nd, row_QK)
    rank_QK = np.where(row_QK >= 0, tie_rank[row_QK], len(tie_rank))
    order = np.lexsort((rank_QK, -score_QK), axis=1)[:, :kept]
    return np.take_along_axis(score_QK, order, axis=1), np.take_along_axis(row_QK, order, axis=1)


def fixed_scores(query_Qd: np.ndarray, candidate_Nd: np.ndarray, row_QK: np.ndarray) -> np.ndarray:
    """[Q, K] float32: the inner product of each query with its rows, in fp64 rounded once; -inf for rows of -1."""
    score_QK = np.full(row_QK.shape, -np.inf, dtype=np.float32)
    queries, pool = shared(query_Qd), shared(candidate_Nd)
    step = max(1, GATHERED_NUMBERS // query_Qd.shape[1])
    for query, row_K in enumerate(row_QK):
        place_K = np.flatnonzero(row_K >= 0)
        for place_M in np.split(place_K, range(step, len(place_K), step)):
            # Not pool[rows]: selecting whole rows is three times as fast as indexing.
            product_Md = pool.index_select(0, torch.from_numpy(row_K[place_M])).double()
            product_Md *= queries[query].double()
            score_QK[query, place_M] = product_Md.sum(dim=1).float().numpy()
    return score_QK


def relative_error(dimension: int) -> float:
    """Bound of |fp32 product - score| / (|q| |c|): d roundings of the sum in any order, of the score and of the norms.

    Two products that differ by more than twice this (times the norms) are in the order of their scores.
    """
    return 1.05 * (dimension + 8) * UNIT_ROUNDOFF


def shared(array: np.ndarray) -> Tensor:
    """The array's memory as a tensor, a read-only memory map too: nobody writes to it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(array))
