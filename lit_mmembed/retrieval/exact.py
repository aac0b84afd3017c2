"""Exact search by tiled matrix products, close to the speed of the bare product.

A full top-k of every tile would cost as much as the product. Instead each tile's scores are reduced to maxima of groups;
only groups whose maximum reaches a query's k-th best score so far are looked into. After the first tiles those are few.

A product in floating point is off by at most a known bound e (the sum's rounding, times the norms). What is kept is
every document whose score comes within 2 e of the k-th best: the true best k are among them, all ties included, and
`settle` brings them into the declared order.

Shapes: Q queries, T documents of a tile, G documents of a group, g groups of a tile, M hits, L queries with hits,
K documents kept per query so far, W columns to merge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from lit_mmembed.errors import InputError
from lit_mmembed.retrieval.rescoring import settle, shared

LARGEST_GROUP = 64
"""Scores per maximum."""
GROUPS_PER_DOCUMENT_KEPT = 4
"""A tile needs several times as many groups as documents are kept, or its groups tell too little."""
CROWD = 1024
"""Near-ties beyond k, of one query, that are kept before they are settled: only pools full of equal vectors have more."""
UNIT_ROUNDOFF = 2.0**-24
"""Of fp32."""

Settle = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From queries [L] and their rows [L, K] to the best scores and rows [L, k] in the declared order."""


class ExactSearch:
    """Searches tile by tile; memory is tile x d + tile x queries, whatever the pool's size.

    On GPUs, tiles go round robin over the devices; each keeps its own best and they are merged at the end.
    """

    def __init__(self, *, device: str = "auto", tile: int = 32768) -> None:
        self.tile = max(1, tile)
        self.devices = _devices(device)

    def search(
        self, query_Qd: np.ndarray, candidate_Nd: np.ndarray, k: int, *, tie_rank: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Index.search`."""
        query_Qd, pool_Nd = np.ascontiguousarray(query_Qd, dtype=np.float32), shared(candidate_Nd)
        k, tile = min(k, len(candidate_Nd)), min(self.tile, len(candidate_Nd))

        def in_order(queries: np.ndarray, row_LK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return settle(query_Qd[queries], candidate_Nd, row_LK, k=k, tie_rank=tie_rank)

        with _full_precision():
            parts = [_Best(shared(query_Qd).to(device), k, tile, in_order) for device in self.devices]
            for number, start in enumerate(range(0, len(candidate_Nd), tile)):
                parts[number % len(parts)].add(pool_Nd[start : start + tile], start)
        row_QK = np.concatenate([part.row_QK.cpu().numpy() for part in parts], axis=1)
        return in_order(np.arange(len(query_Qd)), row_QK)


class _Best:
    """What may be among the best k of each query so far, on one device: sorted by the product's score, then padding."""

    def __init__(self, query_Qd: Tensor, k: int, tile: int, in_order: Settle) -> None:
        self.k, self.in_order, self.device = k, in_order, query_Qd.device
        self.query_dQ = query_Qd.T.contiguous()
        queries = len(query_Qd)
        self.score_QK = torch.full((queries, k), -torch.inf, device=self.device)
        self.row_QK = torch.full((queries, k), -1, dtype=torch.int64, device=self.device)
        self._error_per_norm_Q = _relative_error(query_Qd.shape[1]) * query_Qd.double().norm(dim=1).float()
        self._largest_norm = torch.zeros((), device=self.device)
        self._group = _group_size(tile, k)
        rows = -(-tile // self._group) * self._group
        self._product = torch.empty((rows, queries), device=self.device)
        self._tile = torch.empty((tile, query_Qd.shape[1]), device=self.device)

    def add(self, tile_Td: Tensor, start: int) -> None:
        """Look at documents `start`, `start` + 1, ..."""
        if tile_Td.dtype != torch.float32 or tile_Td.device != self.device:
            tile_Td = self._tile[: len(tile_Td)].copy_(tile_Td)
        self._largest_norm = torch.maximum(self._largest_norm, torch.linalg.vector_norm(tile_Td, dim=1).amax())
        torch.mm(tile_Td, self.query_dQ, out=self._product[: len(tile_Td)])
        groups = -(-len(tile_Td) // self._group)
        self._product[len(tile_Td) : groups * self._group] = -torch.inf
        grouped_gGQ = self._product[: groups * self._group].view(groups, self._group, -1)
        top_gQ = grouped_gGQ.amax(dim=1)
        kth_Q = self.score_QK[:, self.k - 1]
        if groups >= self.k:  # as many groups reach this value: the k-th best cannot be below it
            kth_Q = torch.maximum(kth_Q, top_gQ.topk(self.k, dim=0).values[-1])
        self._take(grouped_gGQ, top_gQ, kth_Q - self._slack_Q(), start)

    def _slack_Q(self) -> Tensor:
        return 2 * self._error_per_norm_Q * self._largest_norm

    def _take(self, grouped_gGQ: Tensor, top_gQ: Tensor, least_Q: Tensor, start: int) -> None:
        least_Q = least_Q.clamp(min=torch.finfo(torch.float32).min)  # so that -inf, the padding, never reaches it
        group, query = (top_gQ >= least_Q).nonzero(as_tuple=True)
        score_MG = grouped_gGQ[group, :, query]
        hit, place = (score_MG >= least_Q[query].unsqueeze(1)).nonzero(as_tuple=True)
        if len(hit):
            self._merge(query[hit], score_MG[hit, place], start + group[hit] * self._group + place)

    def _merge(self, query: Tensor, score: Tensor, row: Tensor) -> None:
        """Put the hits beside the best so far, one line per query, and drop what can no longer be among the best k."""
        order = torch.argsort(query, stable=True)
        query, score, row = query[order], score[order], row[order]
        touched, count = torch.unique_consecutive(query, return_counts=True)
        line = torch.repeat_interleave(torch.arange(len(touched), device=self.device), count)
        first = torch.cumsum(count, 0) - count
        kept = self.score_QK.shape[1]
        column = torch.arange(len(query), device=self.device) - first[line] + kept
        score_LW = self.score_QK.new_full((len(touched), kept + int(count.max())), -torch.inf)
        row_LW = self.row_QK.new_full(score_LW.shape, -1)
        score_LW[:, :kept], row_LW[:, :kept] = self.score_QK[touched], self.row_QK[touched]
        score_LW[line, column], row_LW[line, column] = score, row
        score_LW, place = score_LW.sort(dim=1, descending=True)
        row_LW = row_LW.gather(1, place)
        near_LW = score_LW >= (score_LW[:, self.k - 1] - self._slack_Q()[touched]).unsqueeze(1)
        row_LW.masked_fill_(~near_LW, -1)
        score_LW.masked_fill_(~near_LW, -torch.inf)
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


def _relative_error(dimension: int) -> float:
    """Bound of |product - exact score| / (|q| |c|): d roundings of the sum in any order, and those of the score."""
    return 1.05 * (dimension + 8) * UNIT_ROUNDOFF


def _group_size(tile: int, k: int) -> int:
    size = LARGEST_GROUP
    while size > 1 and tile < size * k * GROUPS_PER_DOCUMENT_KEPT:
        size //= 2
    return size


@contextmanager
def _full_precision() -> Iterator[None]:
    """Real fp32 products: a training script may have allowed TF32 (or bf16 on a CPU), which the bound does not cover."""
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
