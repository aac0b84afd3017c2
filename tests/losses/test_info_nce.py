from __future__ import annotations

import math

import pytest
import torch

from lit_mmembed.losses.info_nce import InfoNCE, other_positives
from lit_mmembed.types import NO_ID


def test_another_positive_of_the_query_is_no_negative():
    excluded = other_positives(torch.tensor([0, 1]), torch.tensor([7, 8, 9]), torch.tensor([[7, 9], [8, NO_ID]]))
    assert excluded.tolist() == [[False, False, True], [False, False, False]]


def test_a_copy_of_the_drawn_positive_is_no_negative_even_if_it_is_not_labelled():
    excluded = other_positives(torch.tensor([0]), torch.tensor([7, 7, 9]), torch.tensor([[NO_ID]]))
    assert excluded.tolist() == [[False, True, False]]


def test_the_document_of_another_query_stays_a_negative():
    excluded = other_positives(torch.tensor([0, 1]), torch.tensor([7, 8]), torch.tensor([[7], [8]]))
    assert not excluded.any()


def test_the_largest_id_is_found():
    largest = 2**63 - 1
    excluded = other_positives(torch.tensor([0]), torch.tensor([1, largest]), torch.tensor([[largest, 1]]))
    assert excluded.tolist() == [[False, True]]


def test_the_temperature_is_what_was_asked_for():
    assert InfoNCE(0.05).temperature.item() == pytest.approx(0.05)
    assert not list(InfoNCE(0.05).parameters()) and not InfoNCE(0.05).state_dict()


def test_a_learned_temperature_gets_a_gradient_and_stops_at_its_limit():
    loss = InfoNCE(0.05, learn_temperature=True, max_scale=100.0)
    with torch.no_grad():
        loss.log_scale.fill_(math.log(1000.0))
    assert loss.temperature.item() == pytest.approx(0.01)
    query, document = torch.eye(3)[:2], torch.eye(3)
    ids = torch.arange(3)
    loss(
        query, document, positive=torch.tensor([2, 2]), document_ids=ids, known_positives=torch.tensor([[2], [2]])
    ).sum().backward()
    assert loss.log_scale.item() == pytest.approx(math.log(100.0))
    assert loss.log_scale.grad > 0  # it can come back: a clamp inside the graph would give zero


def test_half_precision_embeddings_are_compared_in_single():
    generator = torch.Generator().manual_seed(0)
    query, document = (torch.nn.functional.normalize(torch.randn(n, 8, generator=generator)).half() for n in (3, 5))
    given = {"positive": torch.arange(3), "document_ids": torch.arange(5), "known_positives": torch.arange(3)[:, None]}
    losses = InfoNCE(0.01)(query, document, **given)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, InfoNCE(0.01)(query.float(), document.float(), **given))


def test_half_precision_does_not_slip_in_through_autocast():
    generator = torch.Generator().manual_seed(0)
    query, document = (torch.nn.functional.normalize(torch.randn(n, 8, generator=generator)) for n in (3, 5))
    given = {"positive": torch.arange(3), "document_ids": torch.arange(5), "known_positives": torch.arange(3)[:, None]}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = InfoNCE(0.01)(query, document, **given)
    assert torch.equal(losses, InfoNCE(0.01)(query, document, **given))
