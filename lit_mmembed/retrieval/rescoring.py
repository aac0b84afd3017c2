"""The declared order of a ranking: scores by one fixed sum, then ties by the document's id.

A matrix product's last bits depend on the shape of its tiles. The few documents that it has chosen are therefore scored
again, each by the same sum over d in fp64, rounded to fp32: the same pair has the same score whatever tile, block or
index found it, and documents with the same vector tie exactly.

Shapes: Q queries, K chosen documents per query, N documents, d dimensions, M documents of one query at a time,
L queries and T documents of a tile, k documents kept.
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
    order = np.lexsort((tie_rank[row_QK], -score_QK), axis=1)[:, :kept]
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


def best_of_tile(
    query_Ld: np.ndarray, tile_Td: np.ndarray, k: int, tie_rank_T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best k documents [L, k] of a whole tile in the declared order: scores float32 and places in the tile.

    One matrix product in fp64, where scoring each pair would take a hundred times as long. It is as good as the fixed
    sum where its error cannot change the rounding to fp32; the few other pairs are scored one by one.
    """
    product_LT = np.empty((len(query_Ld), len(tile_Td)))
    query_Ld = query_Ld.astype(np.float64)
    step = max(1, GATHERED_NUMBERS // query_Ld.shape[1])
    for start in range(0, len(tile_Td), step):
        product_LT[:, start : start + step] = query_Ld @ tile_Td[start : start + step].astype(np.float64).T
    norm_T = np.linalg.norm(tile_Td.astype(np.float32), axis=1)
    error_LT = 2 * relative_error(query_Ld.shape[1]) * 2.0**-29 * np.linalg.norm(query_Ld, axis=1)[:, None] * norm_T
    score_LT = product_LT.astype(np.float32)
    unclear_LT = (product_LT - error_LT).astype(np.float32) != (product_LT + error_LT).astype(np.float32)
    for line in np.flatnonzero(unclear_LT.any(axis=1)):
        place = np.flatnonzero(unclear_LT[line])
        score_LT[line, place] = fixed_scores(query_Ld[line : line + 1], tile_Td, place[None])[0]
    # One integer that is ordered as (score down, tie_rank up); adding 0.0 makes -0.0 the same as 0.0.
    bits_LT = (score_LT + 0.0).view(np.int32).astype(np.int64)
    ordered_LT = np.where(bits_LT < 0, -(bits_LT & 0x7FFFFFFF), bits_LT)
    key_LT = torch.from_numpy(ordered_LT * 2**32 - tie_rank_T)
    place_Lk = key_LT.topk(min(k, len(tile_Td)), dim=1).indices.numpy()
    return np.take_along_axis(score_LT, place_Lk, axis=1), place_Lk


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
