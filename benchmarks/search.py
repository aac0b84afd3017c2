"""Exact search beside faiss.IndexFlatIP (the peer) and the bare matrix product with the same tiles (the limit)."""

from __future__ import annotations

import faiss
import numpy as np
import torch

from benchmarks.measure import interleaved, ratio, save
from lit_mmembed.retrieval.exact import ExactSearch
from lit_mmembed.retrieval.rescoring import settle

K, TILE = 50, 32768
SHAPES = [(768, 200_000, 1024, 2.0, 1.35), (4096, 40_000, 512, 3.5, 1.2)]


def unit(count, dimension, seed):
    vectors = torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors).numpy()


def main():
    faiss.omp_set_num_threads(torch.get_num_threads())
    figures = []
    for dimension, documents, queries, at_least, at_most in SHAPES:
        pool, asked = unit(documents, dimension, 0), unit(queries, dimension, 1)
        tie_rank = np.arange(documents)
        index = faiss.IndexFlatIP(dimension)
        index.add(pool)
        exact = ExactSearch(device="cpu", tile=TILE)
        product = torch.empty(TILE, queries)
        transposed = torch.from_numpy(asked).T.contiguous()

        def bare(pool=pool, transposed=transposed, product=product):
            for start in range(0, len(pool), TILE):
                tile = torch.from_numpy(pool[start : start + TILE])
                torch.mm(tile, transposed, out=product[: len(tile)])

        seconds = interleaved(
            {
                "ours": lambda: exact.search(asked, pool, K, tie_rank=tie_rank),
                "faiss": lambda: index.search(asked, K),
                "matmul": bare,
            },
            rounds=5,
        )
        score, row = exact.search(asked, pool, K, tie_rank=tie_rank)
        theirs = settle(asked, pool, index.search(asked, K + 14)[1], k=K, tie_rank=tie_rank)
        figures.append(
            {
                "d": dimension, "documents": documents, "queries": queries, "k": K,
                "times_faster_than_faiss": round(ratio(seconds, "faiss", "ours"), 2), "target_at_least": at_least,
                "times_the_bare_matmul": round(ratio(seconds, "ours", "matmul"), 3), "target_at_most": at_most,
                "rows_equal": bool((row == theirs[1]).all()), "scores_equal": bool((score == theirs[0]).all()),
            }
        )  # fmt: skip
    save("search", figures)


if __name__ == "__main__":
    main()
