"""The contrastive step that every retriever shares: encode, gather, compare each query with all documents."""

from __future__ import annotations

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


def contrastive_loss(encoder: Encoder, loss: InfoNCE, batch: Batch) -> Tensor:
    """Return the loss to differentiate: each local query against the documents of all processes.

    It is scaled by (local queries x processes / global queries), so that the *mean* over processes of the loss, of the
    logged value and of the gradients (which DDP takes) is that of one process with the global batch, also when the
    processes have unequal numbers of queries. With one process it is the plain mean over queries.
    """
    return global_loss(loss, encoder(batch.query), encoder(batch.document), batch)


def global_loss(loss: InfoNCE, query_BD: Tensor, document_nD: Tensor, batch: Batch) -> Tensor:
    """Return the scaled loss of local embeddings; see `contrastive_loss`. A cached step calls it on cached vectors."""
    sizes = exchange(len(document_nD), document_nD.device)
    losses_B = loss(
        query_BD,
        gather_with_gradient(document_nD, sizes),
        positive=batch.positive + sum(sizes[: process_rank()]),
        document_ids=gather_without_gradient(batch.document_ids, sizes),
        known_positives=batch.known_positives,
    )
    queries = sum(exchange(len(query_BD), query_BD.device))
    return losses_B.sum() * (process_count() / queries)
