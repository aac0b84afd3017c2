"""Retrieval inside validation and test epochs: hit@5 and M.A.@1 per task on the split's global pool.

Shapes: Q queries, N documents, D dimensions, K best documents kept.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lit_mmembed.data.encoding import RowsToEncode
from lit_mmembed.types import MODALITIES, Task

DEPTH = 10
QUERY_BLOCK = 1024


class Collected:
    """Embeddings of one side, gathered batch by batch in whatever order they come."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._vectors: list[Tensor] = []
        self._indices: list[Tensor] = []

    def add(self, indices: Tensor, vectors: Tensor) -> None:
        """Keep the vectors [n, D] of rows `indices` [n]."""
        self._indices.append(indices)
        self._vectors.append(vectors.float())

    def parts(self) -> tuple[Tensor, Tensor]:
        """What this process has seen: indices [m] and vectors [m, D]."""
        return torch.cat(self._indices), torch.cat(self._vectors)

    def laid_out(self, indices: Tensor, vectors: Tensor) -> Tensor:
        """Vectors [rows, D] in the rows' order; every row must have come."""
        table = vectors.new_full((self._rows, vectors.shape[1]), float("nan"))
        table[indices] = vectors
        return table


def best_rows(query_QD: Tensor, candidate_ND: Tensor, depth: int = DEPTH) -> Tensor:
    """Rows [Q, K] of the best candidates by inner product, in blocks of queries."""
    depth = min(depth, len(candidate_ND))
    blocks = [(block @ candidate_ND.T).topk(depth, dim=1).indices for block in query_QD.split(QUERY_BLOCK)]
    return torch.cat(blocks)


def retrieval_scores(
    best_QK: np.ndarray, queries: RowsToEncode, candidates: RowsToEncode, tasks: tuple[Task, ...]
) -> dict[str, float]:
    """Score the top rows of each query: "hit@5/TASK" and "modality_accuracy@1/TASK", each task's own cut-off aside.

    hit@5 is what M-BEIR calls recall@5; M.A.@1 is Table 2's share of queries whose first document has the modality
    asked for.
    """
    wanted = np.array([MODALITIES.index(task.candidate_modality) for task in tasks])[queries.task]
    right = candidates.modality[best_QK[:, 0]] == wanted
    hits = np.array([_hit(row, best_QK[index, :5], queries, candidates) for index, row in enumerate(queries.rows)])
    scores = {}
    for index in np.unique(queries.task):
        chosen = queries.task == index
        scores[f"hit@5/{tasks[index].name}"] = float(hits[chosen].mean())
        scores[f"modality_accuracy@1/{tasks[index].name}"] = float(right[chosen].mean())
    for metric in ("hit@5", "modality_accuracy@1"):
        scores[f"{metric}/mean"] = float(np.mean([scores[key] for key in scores if key.startswith(f"{metric}/")]))
    return scores


def _hit(row: int, best: np.ndarray, queries: RowsToEncode, candidates: RowsToEncode) -> bool:
    positives = candidates.reader.rows_of(list(queries.reader[int(row)].positives))
    return bool(np.isin(best, positives).any())
