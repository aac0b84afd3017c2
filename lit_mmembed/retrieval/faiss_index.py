"""A flat FAISS index: fp16 and sharded over the visible GPUs, or IndexFlatIP on the CPU, tile by tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from lit_mmembed.errors import InputError
from lit_mmembed.retrieval.rescoring import settle

GPU_LARGEST_K = 2048
MARGIN = 14


class FlatFaiss:
    """FAISS's brute force. The GPU index holds the whole pool in fp16, cut over the devices; the CPU one is tiled."""

    def __init__(self, *, device: str = "auto", tile: int = 32768) -> None:
        import faiss

        self.tile = tile
        # Asked first: on a machine without a GPU, `index_cpu_to_all_gpus` returns an empty index and `knn_gpu` aborts.
        gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
        if device.startswith("cuda") and not gpus:
            raise InputError("FAISS sees no GPU", fix="install faiss-gpu, or use --device cpu or --index exact")
        self.on_gpu = gpus > 0 and device != "cpu"

    def search(
        self, query_Qd: np.ndarray, candidate_Nd: np.ndarray, k: int, *, tie_rank: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Index.search`."""
        query_Qd = np.ascontiguousarray(query_Qd, dtype=np.float32)
        depth = min(k + MARGIN, len(candidate_Nd))
        rows = (
            self._on_gpu(query_Qd, candidate_Nd, depth) if self.on_gpu else self._on_cpu(query_Qd, candidate_Nd, depth)
        )
        return settle(query_Qd, candidate_Nd, rows, k=k, tie_rank=tie_rank)

    def _on_cpu(self, query_Qd: np.ndarray, candidate_Nd: np.ndarray, depth: int) -> np.ndarray:
        import faiss

        best = faiss.ResultHeap(len(query_Qd), depth, keep_max=True)
        for start in range(0, len(candidate_Nd), self.tile):
            index = faiss.IndexFlatIP(query_Qd.shape[1])
            index.add(np.ascontiguousarray(candidate_Nd[start : start + self.tile], dtype=np.float32))
            score, row = index.search(query_Qd, min(depth, index.ntotal))
            best.add_result(score, np.where(row < 0, -1, row + start))
        best.finalize()
        return best.I

    def _on_gpu(self, query_Qd: np.ndarray, candidate_Nd: np.ndarray, depth: int) -> np.ndarray:
        if depth > GPU_LARGEST_K:
            raise InputError(
                f"FAISS on a GPU finds at most {GPU_LARGEST_K} documents", fix="lower --depth or use exact"
            )
        index = _sharded(query_Qd.shape[1])
        for start in range(0, len(candidate_Nd), self.tile):
            index.add(np.ascontiguousarray(candidate_Nd[start : start + self.tile], dtype=np.float32))
        return index.search(query_Qd, depth)[1]


def _sharded(dimension: int) -> Any:
    """One flat fp16 index per device, each with its share; ids run on in the order of adding."""
    import faiss

    options = faiss.GpuMultipleClonerOptions()
    options.shard, options.useFloat16, options.common_ivf_quantizer = True, True, False
    return faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(dimension), co=options)
