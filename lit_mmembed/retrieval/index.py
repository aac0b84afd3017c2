"""The one small interface that the exact search and FAISS share."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

IndexKind = Literal["exact", "faiss"]


class Index(Protocol):
    """Finds the documents of the largest inner products.

    Shapes: Q queries, N documents, d dimensions, k documents kept.
    """

    def search(
        self, query_Qd: np.ndarray, candidate_Nd: np.ndarray, k: int, *, tie_rank: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores [Q, k] float32 and rows [Q, k] int64, best first; ties by `tie_rank` [N], smaller first.

        `candidate_Nd` may be a memory map: it is read in tiles. k is at most N.
        """
        ...


def make_index(kind: IndexKind, *, device: str = "auto", tile: int = 32768) -> Index:
    """Build the index of this kind.

    Args:
        kind: `exact`: tiled torch search; `faiss`: a flat FAISS index.
        device: auto (every visible GPU, else the CPU), cpu, or cuda.
        tile: Documents in memory at a time.
    """
    if kind == "faiss":
        from lit_mmembed.retrieval.faiss_index import FlatFaiss

        return FlatFaiss(device=device, tile=tile)
    from lit_mmembed.retrieval.exact import ExactSearch

    return ExactSearch(device=device, tile=tile)
