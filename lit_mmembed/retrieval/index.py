"""The one small interface that the exact search and FAISS share."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

IndexKind = Literal["exact", "faiss"]


class Index(Protocol):
    """Finds the documents of a pool with the largest inner products."""

    def search(self, query_Qd: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the best k documents of each query.

        Args:
            query_Qd: [Q, d] finite vectors.
            k: Documents to find; a pool of fewer is returned whole.

        Returns:
            Scores [Q, k] float32 and rows of the pool [Q, k] int64, best first, ties in the declared order. A score is
            the inner product in fp64, rounded once: it does not depend on tile, block, device or kind of index.
        """
        ...


def make_index(
    kind: IndexKind, candidate_Nd: np.ndarray, *, tie_rank: np.ndarray, device: str = "auto", tile: int = 32768
) -> Index:
    """Build the index of this kind over a pool.

    Args:
        kind: `exact`: tiled torch search; `faiss`: a flat FAISS index.
        candidate_Nd: The pool, finite, float32 or float16. It may be a memory map: it is read in tiles.
        tie_rank: [N] the declared order of documents with equal scores, smaller first.
        device: auto (every visible GPU, else the CPU), cpu, or cuda.
        tile: Documents in memory at a time.
    """
    if kind == "faiss":
        from lit_mmembed.retrieval.faiss_index import FlatFaiss

        return FlatFaiss(candidate_Nd, tie_rank=tie_rank, device=device, tile=tile)
    from lit_mmembed.retrieval.exact import ExactSearch

    return ExactSearch(candidate_Nd, tie_rank=tie_rank, device=device, tile=tile)
