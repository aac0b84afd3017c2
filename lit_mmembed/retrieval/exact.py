"""Exact search by tiled matrix products in fp32, close to the speed of the bare product.

A full top-k of every tile would cost as much as the product. Instead each tile's scores are reduced to maxima of groups;
only groups whose maximum reaches a query's k-th best score so far are looked into. After the first tiles those are few.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lit_mmembed.errors import InputError
from lit_mmembed.retrieval.rescoring import MARGIN, settle

GROUP = 64
"""Scores per maximum."""


class ExactSearch:
    """Searches tile by tile; memory is tile x d + tile x queries, whatever the pool's size.

    On GPUs, tiles go round robin over the devices; each keeps its own best and they are merged at the end.
    """

    def __init__(self, *, device: str = "auto", tile: int = 32768) -> None:
        self.tile = max(GROUP, tile // GROUP * GROUP)
        self.devices = _devices(device)

    def search(
        self, query_Qd: np.ndarray, candidate_Nd: np.ndarray, k: int, *, tie_rank: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Index.search`."""
        depth = min(k + MARGIN, len(candidate_Nd))
        parts = [_Best(query_Qd, depth, self.tile, device) for device in self.devices]
        for number, start in enumerate(range(0, len(candidate_Nd), self.tile)):
            tile_Td = np.ascontiguousarray(candidate_Nd[start : start + self.tile])
            parts[number % len(parts)].add(torch.from_numpy(tile_Td), start)
        score = torch.cat([part.score_QK.cpu() for part in parts], dim=1)
        row = torch.cat([part.row_QK.cpu() for part in parts], dim=1)
        chosen = row.gather(1, score.topk(depth, dim=1).indices)
        return settle(query_Qd, candidate_Nd, chosen.numpy(), k=k, tie_rank=tie_rank)


class _Best:
    """The best rows of each query so far, on one device."""

    def __init__(self, query_Qd: np.ndarray, depth: int, tile: int, device: torch.device) -> None:
        self.device = device
        self.depth = depth
        self.query_dQ = torch.from_numpy(np.ascontiguousarray(query_Qd, dtype=np.float32)).to(device).T.contiguous()
        queries = self.query_dQ.shape[1]
        self.score_QK = torch.full((queries, depth), -torch.inf, device=device)
        self.row_QK = torch.full((queries, depth), -1, dtype=torch.int64, device=device)
        self._product = torch.empty((tile, queries), device=device)

    def add(self, tile_Td: Tensor, start: int) -> None:
        """Look at documents `start`, `start` + 1, ..."""
        product_TQ = self._product[: len(tile_Td)]
        torch.mm(tile_Td.to(self.device, non_blocking=True).float(), self.query_dQ, out=product_TQ)
        groups = -(-len(tile_Td) // GROUP)
        if len(tile_Td) < groups * GROUP:
            self._product[len(tile_Td) : groups * GROUP] = -torch.inf
        grouped_gGQ = self._product[: groups * GROUP].view(groups, GROUP, -1)
        top_gQ = grouped_gGQ.amax(dim=1)
        threshold_Q = self.score_QK[:, -1]
        if groups >= self.depth:  # as many groups reach this value: the k-th best cannot be below it
            threshold_Q = torch.maximum(threshold_Q, top_gQ.topk(self.depth, dim=0).values[-1])
        self._take(grouped_gGQ, top_gQ >= threshold_Q, threshold_Q, start)

    def _take(self, grouped_gGQ: Tensor, reached_gQ: Tensor, threshold_Q: Tensor, start: int) -> None:
        group, query = reached_gQ.nonzero(as_tuple=True)
        if not len(group):
            return
        score_MG = grouped_gGQ[group, :, query]
        hit, place = (score_MG >= threshold_Q[query].unsqueeze(1)).nonzero(as_tuple=True)
        self._merge(query[hit], score_MG[hit, place], start + group[hit] * GROUP + place)

    def _merge(self, query: Tensor, score: Tensor, row: Tensor) -> None:
        """Put the hits beside the best so far, one line per query, and keep the best of both."""
        order = torch.argsort(query, stable=True)
        query, score, row = query[order], score[order], row[order]
        touched, count = torch.unique_consecutive(query, return_counts=True)
        line = torch.repeat_interleave(torch.arange(len(touched), device=self.device), count)
        first = torch.cumsum(count, 0) - count
        column = torch.arange(len(query), device=self.device) - first[line] + self.depth
        width = self.depth + int(count.max())
        score_LW = torch.full((len(touched), width), -torch.inf, device=self.device)
        row_LW = torch.full((len(touched), width), -1, dtype=torch.int64, device=self.device)
        score_LW[:, : self.depth], row_LW[:, : self.depth] = self.score_QK[touched], self.row_QK[touched]
        score_LW[line, column], row_LW[line, column] = score, row
        best, place = score_LW.topk(self.depth, dim=1)
        self.score_QK[touched], self.row_QK[touched] = best, row_LW.gather(1, place)


def _devices(name: str) -> list[torch.device]:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise InputError("there is no CUDA device", fix="use --device cpu")
        return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    return [torch.device(name)]
