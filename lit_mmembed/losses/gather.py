"""Gathering tensors of all processes, with and without gradient; the identity where there is one process.

The processes may bring different numbers of rows (an unequal last batch): sizes are exchanged and rows are padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_with_gradient(tensor: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """Return the rows of all processes in rank order [sum of n, ...]; the gradient flows back to every process.

    The backward pass *sums* over processes: each process gets, for its own rows, the sum of the gradients that all
    processes computed for them. With losses scaled as in `training.contrastive`, averaging the parameters' gradients
    (DDP) then gives the gradients of one process that saw the whole batch.

    Args:
        tensor: [n, ...]; trailing dimensions are equal everywhere.
        sizes: n of each process, where the caller knows it already; spares an exchange.
    """
    if process_count() == 1:
        return tensor
    return _Gather.apply(tensor, list(sizes) if sizes is not None else exchange(len(tensor), tensor.device))


def gather_without_gradient(tensor: Tensor, sizes: Sequence[int] | None = None) -> Tensor:
    """Return the rows of all processes in rank order [sum of n, ...], detached (ids, embeddings of an evaluation)."""
    if process_count() == 1:
        return tensor.detach()
    return _gather_rows(tensor.detach(), sizes if sizes is not None else exchange(len(tensor), tensor.device))


def exchange(number: int, device: torch.device) -> list[int]:
    """Return the number that each process brings, in rank order."""
    if process_count() == 1:
        return [number]
    own = torch.tensor([number], device=device)
    received = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(received, own)
    return [int(value) for value in torch.cat(received).tolist()]


def process_count() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_rank() -> int:
    """Return this process's rank, 0 where there is one process."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        return _gather_rows(tensor, sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        # An all-reduce and a slice rather than a reduce-scatter: gloo has none, and the rows may be unequal.
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total.split(ctx.sizes)[dist.get_rank()], None


def _gather_rows(tensor: Tensor, sizes: Sequence[int]) -> Tensor:
    padded = tensor.new_zeros((max(sizes), *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    received = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(received, padded)
    return torch.cat([rows[:size] for rows, size in zip(received, sizes, strict=True)])
