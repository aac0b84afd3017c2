"""Two processes must give the loss and the gradients of one."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.training import contrastive
from lit_mmembed.training.contrastive import contrastive_loss, global_gradients, global_loss
from lit_mmembed.types import NO_ID, Batch
from tests.processes import in_processes

QUERIES = 7


class Linear(nn.Module):
    """An encoder small enough to compare every gradient."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.map = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4))

    def forward(self, features):
        return nn.functional.normalize(self.map(features["x"]), dim=-1)


class Step(nn.Module):
    """What DDP wraps: encoder and loss, as the LightningModule does."""

    def __init__(self, learn_temperature: bool) -> None:
        super().__init__()
        self.encoder = Linear()
        self.loss = InfoNCE(0.1, learn_temperature=learn_temperature)

    def forward(self, batch):
        return contrastive_loss(self.encoder, self.loss, batch)


def part_of_the_batch(queries: slice, negatives: int) -> Batch:
    """The queries of a slice of one global batch, each with its positive and `negatives` mined ones."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(QUERIES, 5, generator=generator)
    document = torch.randn(QUERIES, 1 + negatives, 5, generator=generator)
    ids = torch.randint(0, 9, (QUERIES, 1 + negatives), generator=generator)  # few: copies and known positives happen
    known = torch.cat([ids[:, :1], torch.randint(0, 9, (QUERIES, 1), generator=generator)], dim=1)
    known[::3, 1] = NO_ID
    chosen, count = document[queries], len(query[queries])
    return Batch(
        query={"x": query[queries]},
        document={"x": torch.cat([chosen[:, 0], chosen[:, 1:].reshape(-1, 5)])},
        positive=torch.arange(count),
        document_ids=torch.cat([ids[queries, 0], ids[queries, 1:].reshape(-1)]),
        known_positives=known[queries],
        task=torch.zeros(count, dtype=torch.int64),
    )


CASES = {
    # name: (where the global batch is cut, mined negatives per query, learned temperature)
    "equal": ((0, 3, 6), 0, False),
    "equal, mined, learned": ((0, 3, 6), 2, True),
    "unequal, learned": ((0, 5, 7), 0, True),
    "unequal, mined": ((0, 2, 7), 1, False),
}


def all_cases(rank):
    """One start of the processes for all cases: starting them costs seconds."""
    return {name: one_step(rank, *case) for name, case in CASES.items()}


def one_step(rank, cuts, negatives, learn_temperature):
    step = DistributedDataParallel(Step(learn_temperature))
    loss = step(part_of_the_batch(slice(cuts[rank], cuts[rank + 1]), negatives))
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in step.module.named_parameters()}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return in_processes(2, all_cases, tmp_path_factory.mktemp("processes"))


@pytest.mark.parametrize("name", CASES)
def test_two_processes_give_the_loss_and_gradients_of_one(name, results):
    cuts, negatives, learn_temperature = CASES[name]
    alone = Step(learn_temperature)
    loss = alone(part_of_the_batch(slice(0, cuts[-1]), negatives))
    loss.backward()
    assert sum(process[name][0] for process in results) / 2 == pytest.approx(loss.item(), rel=1e-5)
    for process in results:
        for parameter_name, parameter in alone.named_parameters():
            torch.testing.assert_close(process[name][1][parameter_name], parameter.grad, rtol=1e-4, atol=1e-6)


def test_one_process_takes_the_plain_mean_over_queries():
    step, batch = Step(learn_temperature=False), part_of_the_batch(slice(0, QUERIES), 1)
    losses = step.loss(
        step.encoder(batch.query),
        step.encoder(batch.document),
        positive=batch.positive,
        document_ids=batch.document_ids,
        known_positives=batch.known_positives,
    )
    torch.testing.assert_close(step(batch), losses.mean())


@pytest.mark.parametrize("scores_at_once", [1, 30, 10**6])
def test_gradients_are_the_same_for_any_number_of_queries_at_a_time(scores_at_once, monkeypatch):
    monkeypatch.setattr(contrastive, "SCORES_AT_ONCE", scores_at_once)
    batch = part_of_the_batch(slice(0, QUERIES), negatives=1)
    torch.manual_seed(1)
    query, document = (
        nn.functional.normalize(torch.randn(n, 4), dim=-1).requires_grad_() for n in (QUERIES, 2 * QUERIES)
    )
    loss = InfoNCE(0.1, learn_temperature=True)
    expected = global_loss(loss, query, document, batch)
    of_all = torch.autograd.grad(expected * 8, [query, document, loss.log_scale])
    value, *of_vectors, of_learned = global_gradients(loss, query, document, batch, learned=[loss.log_scale], scale=8.0)
    torch.testing.assert_close(value, expected.detach())
    for found, known in zip([*of_vectors, *of_learned], of_all, strict=True):
        torch.testing.assert_close(found, known)
