from __future__ import annotations

import torch

from lit_mmembed.losses.gather import exchange, gather_with_gradient, gather_without_gradient
from tests.processes import in_processes

SIZES = (3, 1)


def own_rows(rank):
    start = sum(SIZES[:rank])
    return torch.arange(start, start + SIZES[rank], dtype=torch.float32)[:, None].repeat(1, 2)


def gather_and_differentiate(rank):
    rows = own_rows(rank).requires_grad_()
    everything = gather_with_gradient(rows)
    weights = torch.arange(len(everything), dtype=torch.float32)[:, None] * (rank + 1)
    (everything * weights).sum().backward()
    return everything.detach(), rows.grad, gather_without_gradient(rows), exchange(len(rows), rows.device)


def test_one_process_gathers_itself():
    rows = torch.randn(3, 2, requires_grad=True)
    assert gather_with_gradient(rows) is rows
    assert not gather_without_gradient(rows).requires_grad
    assert exchange(3, rows.device) == [3]


def test_unequal_rows_of_two_processes_come_in_rank_order_and_their_gradients_are_summed(tmp_path):
    expected = torch.arange(4, dtype=torch.float32)[:, None].repeat(1, 2)
    for rank, (rows, gradient, plain, sizes) in enumerate(in_processes(2, gather_and_differentiate, tmp_path / "p")):
        assert torch.equal(rows, expected) and torch.equal(plain, expected) and sizes == [3, 1]
        assert torch.equal(gradient, own_rows(rank) * 3)  # row index x (1 + 2): both processes' weights
