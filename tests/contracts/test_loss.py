"""What every contrastive loss obeys: a naive loop's values, and no dependence on the order of queries or documents."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import torch
from hypothesis import given, settings

from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.types import NO_ID

LOSSES = [
    InfoNCE(0.07),
    InfoNCE(0.07, mask_known_positives=False),
    InfoNCE(0.2, learn_temperature=True),
]


def naive(loss, query, document, positive, document_ids, known_positives):
    """Eq. 1, term by term in Python."""
    losses = []
    temperature = loss.temperature.item()
    for q, vector in enumerate(query):
        drawn = int(positive[q])
        known = {int(i) for i in known_positives[q] if i != NO_ID} | {int(document_ids[drawn])}
        total = 0.0
        for d, other in enumerate(document):
            if loss.mask_known_positives and d != drawn and int(document_ids[d]) in known:
                continue
            total += math.exp(float(vector @ other) / temperature)
        losses.append(math.log(total) - float(vector @ document[drawn]) / temperature)
    return torch.tensor(losses)


@st.composite
def batches(draw):
    queries, documents = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    ids = st.integers(0, 5)  # few ids: copies and positives of other queries are common
    document_ids = torch.tensor(draw(st.lists(ids, min_size=documents, max_size=documents)))
    positive = torch.tensor(draw(st.lists(st.integers(0, documents - 1), min_size=queries, max_size=queries)))
    known = draw(
        st.lists(st.lists(st.one_of(st.just(NO_ID), ids), min_size=3, max_size=3), min_size=queries, max_size=queries)
    )
    unit = [torch.nn.functional.normalize(torch.randn(n, 4, generator=generator)) for n in (queries, documents)]
    return *unit, positive, document_ids, torch.tensor(known)


def call(loss, query, document, positive, document_ids, known_positives):
    return loss(query, document, positive=positive, document_ids=document_ids, known_positives=known_positives).detach()


@settings(max_examples=80, deadline=None)
@given(batches())
def test_the_loss_is_that_of_a_naive_loop(batch):
    for loss in LOSSES:
        torch.testing.assert_close(call(loss, *batch), naive(loss, *batch), atol=2e-5, rtol=2e-5)


@settings(max_examples=40, deadline=None)
@given(batches(), st.randoms())
def test_the_order_of_queries_and_documents_does_not_matter(batch, random):
    query, document, positive, document_ids, known = batch
    rows = torch.tensor(random.sample(range(len(query)), len(query)))
    columns = torch.tensor(random.sample(range(len(document)), len(document)))
    moved = columns.argsort()[positive]
    for loss in LOSSES:
        expected = call(loss, *batch)[rows]
        found = call(loss, query[rows], document[columns], moved[rows], document_ids[columns], known[rows])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
