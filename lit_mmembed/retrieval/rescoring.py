"""The declared order of a ranking: scores by one fixed sum, then ties by the document's id.

A matrix product's last bits depend on the shape of its tiles. The few documents that it has chosen are therefore scored
again, each by the same sum over d in fp32, so that the same pair has the same score whatever tile, block or index found
it, and documents with the same vector tie exactly.
"""

from __future__ import annotations

import numpy as np
import torch

MARGIN = 14
"""How many documents beyond k an index hands over, so that near-ties at the end are settled by the fixed sum."""


def settle(
    query_Qd: np.ndarray, candidate_Nd: np.ndarray, row_QK: np.ndarray, *, k: int, tie_rank: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Score the chosen rows [Q, K >= k] again and keep the best k; rows of -1 are padding.

    Returns:
        Scores [Q, k] float32 and rows [Q, k] int64.
    """
    kept = min(k, row_QK.shape[1])
    score_Qk = np.empty((len(row_QK), kept), dtype=np.float32)
    best_Qk = np.empty((len(row_QK), kept), dtype=np.int64)
    queries = torch.from_numpy(np.ascontiguousarray(query_Qd, dtype=np.float32))
    for place, rows in enumerate(row_QK):
        rows = rows[rows >= 0]
        gathered_Kd = torch.from_numpy(np.ascontiguousarray(candidate_Nd[rows], dtype=np.float32))
        scores = gathered_Kd.mul_(queries[place]).sum(dim=1).numpy()
        order = np.lexsort((tie_rank[rows], -scores))[:kept]
        score_Qk[place], best_Qk[place] = scores[order], rows[order]
    return score_Qk, best_Qk
