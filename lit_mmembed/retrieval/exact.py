"""Exact search by tiled matrix products, close to the speed of the bare product.

A full top-k of every tile would cost as much as the product. Instead each tile's scores are reduced to maxima of
groups; only groups whose maximum reaches a query's k-th best score so far are looked into: after the first tiles, few.

A product in floating point is off by at most a known bound e (the sum's rounding, times the norms). What is kept is
every document whose score comes within 2 e of the k-th best: the true best k are among them, all ties included, and
`settle` brings them into the declared order.

Shapes: Q queries, N documents, T documents of a tile, G documents of a group, g groups of a tile, M groups looked into,
L queries with hits, K documents kept per query so far, W columns to merge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from lit_mmembed.errors import InputError
from lit_mmembed.retrieval.rescoring import best_of_tile, relative_error, settle, shared

LARGEST_GROUP = 64
"""Scores per maximum."""
GROUPS_PER_DOCUMENT_KEPT = 4
"""A tile needs several times as many groups as documents are kept, or its groups tell too little."""
GROUPS_AT_A_TIME = 1 << 16
"""Groups looked into at a time: bounds memory where every document is near the best (a pool of equal vectors)."""
CROWD = 1024
"""Near-ties beyond k, of one query, that are kept before they are settled: only pools of equal vectors have more."""

Settle = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From queries [L] and their rows [L, K] to the best scores and rows [L, k] in the declared order."""
Crowd = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""From queries [L] and the start of a tile to its best scores and rows [L, k]."""


class ExactSearch:
    """Searches tile by tile; memory is tile x d + tile x queries, whatever the pool's size.

    On GPUs, tiles go round robin over the devices; each keeps its own best and they are merged at the end.
    """

    def __init__(
        self, candidate_Nd: np.ndarray, *, tie_rank: np.ndarray, device: str = "auto", tile: int = 32768
    ) -> None:
        self.candidate_Nd, self.tie_rank = candidate_Nd, tie_rank
        self.tile = max(1, min(tile, len(candidate_Nd)))
        self.devices = _devices(device)
        self._buffers = [_Buffers(self.tile, candidate_Nd.shape[1], device) for device in self.devices]
        self._largest_norm: dict[int, Tensor] = {}

    def search(self, query_Qd: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Index.search`."""
        query_Qd, pool_Nd = np.ascontiguousarray(query_Qd, dtype=np.float32), shared(self.candidate_Nd)
        k = min(k, len(pool_Nd))
        if not k or not len(query_Qd):
            return np.empty((len(query_Qd), k), dtype=np.float32), np.empty((len(query_Qd), k), dtype=np.int64)

        def in_order(queries: np.ndarray, row_LK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return settle(query_Qd[queries], self.candidate_Nd, row_LK, k=k, tie_rank=self.tie_rank)

        def crowd(queries: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
            rows = slice(start, start + self.tile)
            step = max(1, GROUPS_AT_A_TIME * LARGEST_GROUP // self.tile)
            parts = [
                best_of_tile(query_Qd[queries[first : first + step]], self.candidate_Nd[rows], k, self.tie_rank[rows])
                for first in range(0, len(queries), step)
            ]
            return np.concatenate([score for score, _ in parts]), start + np.concatenate([place for _, place in parts])

        with _full_precision():
            parts = [_Best(shared(query_Qd), k, buffers, (in_order, crowd)) for buffers in self._buffers]
            for number, start in enumerate(range(0, len(pool_Nd), self.tile)):
                part = parts[number % len(parts)]
                tile_Td = part.buffers.tile(pool_Nd[start : start + self.tile])
                if start not in self._largest_norm:  # a pass over the pool that later blocks of queries are spared
                    self._largest_norm[start] = torch.linalg.vector_norm(tile_Td, dim=1).amax()
                part.add(tile_Td, start, self._largest_norm[start])
        row_QK = np.concatenate([part.row_QK.cpu().numpy() for part in parts], axis=1)
        return in_order(np.arange(len(query_Qd)), row_QK)


class _Buffers:
    """Memory of one device that every tile of every search uses again: getting it anew costs time."""

    def __init__(self, tile: int, dimension: int, device: torch.device) -> None:
        self.device = device
        self.tile_rows = tile
        self._tile_Td = torch.empty((tile, dimension), device=device)
        self._product = torch.empty(0, device=device)

    def tile(self, tile_Td: Tensor) -> Tensor:
        """The tile in fp32 on the device: itself where it is that already."""
        if tile_Td.dtype == torch.float32 and tile_Td.device == self.device:
            return tile_Td
        return self._tile_Td[: len(tile_Td)].copy_(tile_Td.to(self.device))

    def product(self, rows: int, queries: int) -> Tensor:
        """Room for [rows, queries]; what it held is not kept."""
        if self._product.numel() < rows * queries:
            self._product = torch.empty(rows * queries, device=self.device)
        return self._product[: rows * queries].view(rows, queries)


class _Best:
    """What may be among the best k of each query so far, on one device: sorted by the product's score, then padding."""

    def __init__(self, query_Qd: Tensor, k: int, buffers: _Buffers, settling: tuple[Settle, Crowd]) -> None:
        self.k, self.buffers, self.device = k, buffers, buffers.device
        self.in_order, self.crowd = settling
        self.query_dQ = query_Qd.to(self.device).T.contiguous()
        self.score_QK = torch.full((len(query_Qd), k), -torch.inf, device=self.device)
        self.row_QK = torch.full((len(query_Qd), k), -1, dtype=torch.int64, device=self.device)
        norm_Q = torch.linalg.vector_norm(query_Qd.double(), dim=1).float().to(self.device)
        self._error_per_norm_Q = relative_error(query_Qd.shape[1]) * norm_Q
        self._largest_norm = torch.zeros((), device=self.device)
        self._group = _group_size(buffers.tile_rows, k)

    def add(self, tile_Td: Tensor, start: int, largest_norm: Tensor) -> None:
        """Look at documents `start`, `start` + 1, ..."""
        self._largest_norm = torch.maximum(self._largest_norm, largest_norm)
        groups = -(-len(tile_Td) // self._group)
        product = self.buffers.product(groups * self._group, self.query_dQ.shape[1])
        torch.mm(tile_Td, self.query_dQ, out=product[: len(tile_Td)])
        product[len(tile_Td) :] = -torch.inf
        grouped_gGQ = product.view(groups, self._group, -1)
        top_gQ = grouped_gGQ.amax(dim=1)
        least_Q = self._least(self.score_QK[:, self.k - 1], self._error_per_norm_Q)
        seen_gQ = top_gQ >= least_Q
        if seen_gQ.sum() > 2 * self.k * len(least_Q):  # so there are more groups than k
            kth_Q = top_gQ.topk(self.k, dim=0).values[-1]  # k documents reach it: the k-th best cannot be below
            least_Q = torch.maximum(least_Q, self._least(kth_Q, self._error_per_norm_Q))
            seen_gQ = top_gQ >= least_Q
        self._look_into(grouped_gGQ, seen_gQ, least_Q, start)

    def _least(self, kth: Tensor, error_per_norm: Tensor) -> Tensor:
        """The least product that may belong to the best k; never -inf, the padding."""
        return (kth - 2 * error_per_norm * self._largest_norm).clamp(min=torch.finfo(torch.float32).min)

    def _look_into(self, grouped_gGQ: Tensor, seen_gQ: Tensor, least_Q: Tensor, start: int) -> None:
        groups, queries = seen_gQ.shape
        step = queries if seen_gQ.sum() <= GROUPS_AT_A_TIME else max(1, GROUPS_AT_A_TIME // groups)
        for first in range(0, queries, step):
            # Group by group: neighbours in memory. Query by query, this gather takes four times as long.
            group_M, query_M = seen_gQ[:, first : first + step].nonzero(as_tuple=True)
            query_M = query_M + first
            score_MG = grouped_gGQ[group_M, :, query_M]
            hit, place = (score_MG >= least_Q[query_M].unsqueeze(1)).nonzero(as_tuple=True)
            if len(hit):
                self._hits(query_M[hit], score_MG[hit, place], start + group_M[hit] * self._group + place, start)

    def _hits(self, query: Tensor, score: Tensor, row: Tensor, start: int) -> None:
        """Merge hits; a query with very many of them (equal vectors, or nearly) is spared all but its best k."""
        crowded = torch.bincount(query) > self.k + CROWD
        if crowded.any():
            queries = crowded.nonzero().flatten()
            best_score, best_row = (torch.from_numpy(part) for part in self.crowd(queries.cpu().numpy(), start))
            few = ~crowded[query]
            query = torch.cat([query[few], queries.repeat_interleave(best_row.shape[1])])
            score = torch.cat([score[few], best_score.flatten().to(self.device)])
            row = torch.cat([row[few], best_row.flatten().to(self.device)])
        self._merge(query, score, row)

    def _merge(self, query: Tensor, score: Tensor, row: Tensor) -> None:
        """Put the hits beside the best so far, one line per query, and drop what can no longer be among the best k."""
        query, order = query.sort(stable=True)
        score, row = score[order], row[order]
        touched, count = torch.unique_consecutive(query, return_counts=True)
        line = torch.repeat_interleave(torch.arange(len(touched), device=self.device), count)
        first = torch.cumsum(count, 0) - count
        kept = self.score_QK.shape[1]
        column = torch.arange(len(query), device=self.device) - first[line] + kept
        score_LW = self.score_QK.new_full((len(touched), kept + int(count.max())), -torch.inf)
        row_LW = self.row_QK.new_full(score_LW.shape, -1)
        score_LW[:, :kept], row_LW[:, :kept] = self.score_QK[touched], self.row_QK[touched]
        score_LW[line, column], row_LW[line, column] = score, row
        score_LW, place_LW = score_LW.sort(dim=1, descending=True)
        row_LW = row_LW.gather(1, place_LW)
        far_LW = score_LW < self._least(score_LW[:, self.k - 1], self._error_per_norm_Q[touched]).unsqueeze(1)
        row_LW.masked_fill_(far_LW, -1)
        score_LW.masked_fill_(far_LW, -torch.inf)
        self._settle_crowds(score_LW, row_LW, touched)
        self._keep(touched, score_LW, row_LW)

    def _settle_crowds(self, score_LW: Tensor, row_LW: Tensor, touched: Tensor) -> None:
        """Bring the lines with very many near-ties down to k documents, so that memory stays bounded."""
        for line in ((row_LW >= 0).sum(dim=1) > self.k + CROWD).nonzero().flatten().tolist():
            score, row = self.in_order(touched[line : line + 1].cpu().numpy(), row_LW[line : line + 1].cpu().numpy())
            score_LW[line, self.k :], row_LW[line, self.k :] = -torch.inf, -1
            score_LW[line, : self.k] = torch.from_numpy(score[0])
            row_LW[line, : self.k] = torch.from_numpy(row[0])

    def _keep(self, touched: Tensor, score_LW: Tensor, row_LW: Tensor) -> None:
        width = max(self.k, int((row_LW >= 0).sum(dim=1).max()))
        missing = width - self.score_QK.shape[1]
        if missing > 0:
            self.score_QK = torch.nn.functional.pad(self.score_QK, (0, missing), value=-torch.inf)
            self.row_QK = torch.nn.functional.pad(self.row_QK, (0, missing), value=-1)
        self.score_QK[touched], self.row_QK[touched] = -torch.inf, -1
        self.score_QK[touched, :width], self.row_QK[touched, :width] = score_LW[:, :width], row_LW[:, :width]


def _group_size(tile: int, k: int) -> int:
    size = LARGEST_GROUP
    while size > 1 and tile < size * k * GROUPS_PER_DOCUMENT_KEPT:
        size //= 2
    return size


@contextmanager
def _full_precision() -> Iterator[None]:
    """Real fp32 products: a training script may have allowed TF32, or bf16 on a CPU, which the bound does not cover."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _devices(name: str) -> list[torch.device]:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise InputError("there is no CUDA device", fix="use --device cpu")
        return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return [torch.device(name)]
