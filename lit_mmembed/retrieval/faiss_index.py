"""A flat FAISS index: fp16 and sharded over the visible GPUs, or IndexFlatIP on the CPU, tile by tile.

FAISS returns the best documents by its own products, whose last bits depend on its tiling, so at the k-th place it may
take one of two near-ties and leave the other. It is therefore asked for MARGIN documents more than wanted, and all of
them are brought into the declared order. Where the last of them is still within the error of a product of the k-th (a
pool with many equal vectors), no margin can be trusted, and the exact search answers that query. The ids are those of
the exact search, with one exception: a GPU rounds a float32 store to fp16, and documents that differ by less may swap
places at the end of the ranking. A float16 store loses nothing.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from lit_mmembed.errors import InputError
from lit_mmembed.retrieval.exact import ExactSearch
from lit_mmembed.retrieval.rescoring import relative_error, settle

MARGIN = 14
GPU_LARGEST_K = 2048


class FlatFaiss:
    """FAISS's brute force. The GPU index holds the whole pool in fp16, cut over the devices; the CPU one is tiled."""

    def __init__(
        self, candidate_Nd: np.ndarray, *, tie_rank: np.ndarray, device: str = "auto", tile: int = 32768
    ) -> None:
        self.candidate_Nd, self.tie_rank = candidate_Nd, tie_rank
        self.device, self.tile = device, max(1, tile)
        # Asked first: on a machine without a GPU, `index_cpu_to_all_gpus` returns an empty index and `knn_gpu` aborts.
        gpus = _gpus()
        if device.startswith("cuda") and not gpus:
            raise InputError("FAISS sees no GPU", fix="install faiss-gpu, or use --device cpu or --index exact")
        self.gpus = 0 if device == "cpu" else gpus
        self._largest_norm = 0.0

    def search(self, query_Qd: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Index.search`."""
        query_Qd = np.ascontiguousarray(query_Qd, dtype=np.float32)
        k = min(k, len(self.candidate_Nd))
        if not k or not len(query_Qd):
            return np.empty((len(query_Qd), k), dtype=np.float32), np.empty((len(query_Qd), k), dtype=np.int64)
        depth = min(k + MARGIN, len(self.candidate_Nd))
        found, row = self._on_gpus(query_Qd, k, depth) if self.gpus else self._on_cpu(query_Qd, depth)
        score, row = settle(query_Qd, self.candidate_Nd, row, k=k, tie_rank=self.tie_rank)
        if depth < len(self.candidate_Nd):
            unsure = np.flatnonzero(found[:, k - 1] - found[:, -1] <= self._slack(query_Qd))
            if len(unsure):
                score[unsure], row[unsure] = self._exact.search(query_Qd[unsure], k)
        return score, row

    def _slack(self, query_Qd: np.ndarray) -> np.ndarray:
        norm_Q = np.linalg.norm(query_Qd.astype(np.float64), axis=1)
        return 2 * relative_error(query_Qd.shape[1]) * norm_Q * self._largest_norm

    @cached_property
    def _exact(self) -> ExactSearch:
        return ExactSearch(self.candidate_Nd, tie_rank=self.tie_rank, device=self.device, tile=self.tile)

    def _on_cpu(self, query_Qd: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        import faiss

        best = faiss.ResultHeap(len(query_Qd), depth, keep_max=True)
        for start in range(0, len(self.candidate_Nd), self.tile):
            index = faiss.IndexFlatIP(query_Qd.shape[1])
            index.add(self._read(start, start + self.tile))
            score, row = index.search(query_Qd, min(depth, index.ntotal))
            best.add_result(score, row + start)
        best.finalize()
        return best.D, best.I

    def _on_gpus(self, query_Qd: np.ndarray, k: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
        if k > GPU_LARGEST_K:
            raise InputError(
                f"FAISS on a GPU finds at most {GPU_LARGEST_K} documents", fix="lower --depth or use --index exact"
            )
        return search_shards(self._shards, query_Qd, min(depth, GPU_LARGEST_K))

    @cached_property
    def _shards(self) -> list[tuple[int, Any]]:
        """The first row and the index of each device's share of the pool."""
        import faiss

        bounds = np.linspace(0, len(self.candidate_Nd), self.gpus + 1).astype(int).tolist()
        shards = []
        for device, (first, stop) in enumerate(pairwise(bounds)):
            options = faiss.GpuIndexFlatConfig()
            options.device, options.useFloat16 = device, True
            index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), self.candidate_Nd.shape[1], options)
            for start in range(first, stop, self.tile):
                index.add(self._read(start, min(start + self.tile, stop)))
            shards.append((first, index))
        return shards

    def _read(self, start: int, stop: int) -> np.ndarray:
        """Rows of the pool as FAISS takes them."""
        tile_Td = np.ascontiguousarray(self.candidate_Nd[start:stop], dtype=np.float32)
        self._largest_norm = max(self._largest_norm, float(np.sqrt(np.einsum("td,td->t", tile_Td, tile_Td).max())))
        return tile_Td


def search_shards(shards: list[tuple[int, Any]], query_Qd: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Search shards (first row, index) side by side and merge: scores and rows [Q, depth], best first.

    Not FAISS's own `IndexShards`: it refuses a pool that is added in more than one piece.
    """
    import faiss

    filled = [(first, index) for first, index in shards if index.ntotal]
    best = faiss.ResultHeap(len(query_Qd), depth, keep_max=True)
    with ThreadPoolExecutor(len(filled)) as threads:
        found = threads.map(lambda shard: shard[1].search(query_Qd, min(depth, shard[1].ntotal)), filled)
        for (first, _), (score, row) in zip(filled, found, strict=True):
            best.add_result(score, row + first)
    best.finalize()
    return best.D, best.I


def _gpus() -> int:
    import faiss

    return faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
