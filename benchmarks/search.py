"""Exact search beside faiss.IndexFlatIP (the peer) and the bare matrix product with the same tiles (the limit).

Building is not timed: FAISS copies the pool into its index, ours takes the norms of the pool in its first search.
"""

from __future__ import annotations

import faiss
import numpy as np
import torch

from benchmarks.measure import interleaved, ratio, save
from lit_mmembed.retrieval.exact import ExactSearch
from lit_mmembed.retrieval.rescoring import settle

K, TILE, ROUNDS = 50, 32768, 5
SHAPES = [(768, 200_000, 1024, 2.0, 1.35), (4096, 40_000, 512, 3.5, 1.2)]
"""Dimension, documents, queries, target beside FAISS, target beside the bare product."""


def unit(count, dimension, seed):
    vectors = torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors).numpy()


def bare_product(pool, asked):
    product = torch.empty(TILE, len(asked))
    transposed = torch.from_numpy(asked).T.contiguous()

    def run():
        for start in range(0, len(pool), TILE):
            tile = torch.from_numpy(pool[start : start + TILE])
            torch.mm(tile, transposed, out=product[: len(tile)])

    return run


def measure(dimension, documents, queries):
    pool, asked = unit(documents, dimension, 0), unit(queries, dimension, 1)
    tie_rank = np.arange(documents)
    flat = faiss.IndexFlatIP(dimension)
    flat.add(pool)
    exact = ExactSearch(pool, tie_rank=tie_rank, device="cpu", tile=TILE)
    seconds = interleaved(
        {
            "matmul": bare_product(pool, asked),
            "ours": lambda: exact.search(asked, K),
            "faiss": lambda: flat.search(asked, K),
        },
        rounds=ROUNDS,
    )
    score, row = exact.search(asked, K)
    theirs = settle(asked, pool, flat.search(asked, K + 14)[1], k=K, tie_rank=tie_rank)
    return {
        "d": dimension, "documents": documents, "queries": queries, "k": K,
        "times_faster_than_faiss": round(ratio(seconds, "faiss", "ours"), 2),
        "times_the_bare_matmul": round(ratio(seconds, "ours", "matmul"), 3),
        "rows_equal": bool((row == theirs[1]).all()), "scores_equal": bool((score == theirs[0]).all()),
    }  # fmt: skip


def main():
    faiss.omp_set_num_threads(torch.get_num_threads())
    figures = [
        {**measure(dimension, documents, queries), "target_at_least": at_least, "target_at_most": at_most}
        for dimension, documents, queries, at_least, at_most in SHAPES
    ]
    save("search", figures)


if __name__ == "__main__":
    main()
