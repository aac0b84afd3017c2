"""The contrastive step that every retriever shares: encode, gather, compare each query with all documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lit_mmembed.encoders.base import Encoder
from lit_mmembed.losses.gather import (
    exchange,
    gather_with_gradient,
    gather_without_gradient,
    process_count,
    process_rank,
)
from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.types import Batch

SCORES_AT_ONCE = 1 << 20
"""Of queries with documents, where vectors are given: a score takes 40 bytes for a moment."""


def contrastive_loss(encoder: Encoder, loss: InfoNCE, batch: Batch) -> Tensor:
    """Return the loss to differentiate: each local query against the documents of all processes.

    It is scaled by (local queries x processes / global queries), so that the *mean* over processes of the loss, of the
    logged value and of the gradients (which DDP takes) is that of one process with the global batch, also when the
    processes have unequal numbers of queries. With one process it is the plain mean over queries.
    """
    return global_loss(loss, encoder(batch.query), encoder(batch.document), batch)


def global_loss(loss: InfoNCE, query_BD: Tensor, document_nD: Tensor, batch: Batch) -> Tensor:
    """Return the scaled loss of local embeddings; see `contrastive_loss`."""
    document_ND, documents = _gathered(document_nD, batch)
    return _summed(loss, query_BD, document_ND, documents, slice(None)) * _factor(query_BD)


def global_gradients(
    loss: InfoNCE, query_BD: Tensor, document_nD: Tensor, batch: Batch, *, learned: Sequence[Tensor], scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Return `global_loss` of vectors, and its gradients with respect to them, for some queries at a time.

    Args:
        loss: The loss.
        query_BD: Detached.
        document_nD: Detached.
        batch: What the vectors are of.
        learned: Parameters of the loss.
        scale: A factor of the gradients.

    Returns:
        The loss, the gradients of queries [B, D], of documents [n, D] and of each of `learned`.
    """
    document_nD = document_nD.detach().requires_grad_()
    gathered, documents = _gathered(document_nD, batch)
    document_ND = gathered.detach().requires_grad_()
    factor = _factor(query_BD)
    rows = max(1, SCORES_AT_ONCE // max(1, len(document_ND)))
    value = query_BD.new_zeros(())
    of_queries, of_documents, of_learned = [], torch.zeros_like(document_ND), [torch.zeros_like(p) for p in learned]
    for start in range(0, max(1, len(query_BD)), rows):
        part = slice(start, start + rows)
        query_bD = query_BD[part].detach().requires_grad_()
        summed = _summed(loss, query_bD, document_ND, documents, part) * factor
        of_query, of_document, *of_rest = torch.autograd.grad(summed * scale, [query_bD, document_ND, *learned])
        value += summed.detach()
        of_queries.append(of_query)
        of_documents += of_document
        for total, own in zip(of_learned, of_rest, strict=True):
            total += own
    (of_own,) = torch.autograd.grad(gathered, document_nD, of_documents)
    return value, torch.cat(of_queries), of_own, of_learned


class _Documents(NamedTuple):
    """What the loss must know of the documents of all processes."""

    ids: Tensor
    """[N] int64."""
    positive: Tensor
    """[B] int64: the place of each local query's positive among them."""
    known_positives: Tensor
    """[B, P] int64."""


def _gathered(document_nD: Tensor, batch: Batch) -> tuple[Tensor, _Documents]:
    sizes = exchange(len(document_nD), document_nD.device)
    ids = gather_without_gradient(batch.document_ids, sizes)
    documents = _Documents(ids, batch.positive + sum(sizes[: process_rank()]), batch.known_positives)
    return gather_with_gradient(document_nD, sizes), documents


def _summed(loss: InfoNCE, query_bD: Tensor, document_ND: Tensor, documents: _Documents, rows: slice) -> Tensor:
    losses_b: Tensor = loss(
        query_bD,
        document_ND,
        positive=documents.positive[rows],
        document_ids=documents.ids,
        known_positives=documents.known_positives[rows],
    )
    return losses_b.sum()


def _factor(query_BD: Tensor) -> float:
    return process_count() / sum(exchange(len(query_BD), query_BD.device))
