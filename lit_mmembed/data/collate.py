"""From triplets to a `Batch`, and from rows to an `EncodeBatch`: where the encoder's `preprocess` is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from lit_mmembed.data.triplets import Triplet
from lit_mmembed.types import NO_ID, Batch, EncodeBatch, EncoderRow, Features, Side, stable_id


class Preprocessing(Protocol):
    """What the data needs of an encoder's `preprocess`; see `encoders.base.Preprocess`."""

    def __call__(self, rows: Sequence[EncoderRow]) -> Features:
        """Return the features of rows."""
        ...

    def lengths(self, characters: np.ndarray, images: np.ndarray, side: Side) -> np.ndarray:
        """Estimate rows' tokens."""
        ...


class TrainingCollate:
    """Lays the documents positives first, then negatives, and keeps the ids that the loss masks by."""

    def __init__(self, preprocess: Preprocessing) -> None:
        self.preprocess = preprocess

    def __call__(self, triplets: Sequence[Triplet]) -> Batch:
        """Return one batch of a process."""
        documents = [triplet.positive for triplet in triplets]
        documents += [negative for triplet in triplets for negative in triplet.negatives]
        return Batch(
            query=self.preprocess([triplet.query for triplet in triplets]),
            document=self.preprocess([row for _, row in documents]),
            positive=torch.arange(len(triplets)),
            document_ids=torch.tensor([stable_id(did) for did, _ in documents], dtype=torch.int64),
            known_positives=_padded([[stable_id(did) for did in triplet.known_positives] for triplet in triplets]),
            task=torch.tensor([triplet.task for triplet in triplets], dtype=torch.int64),
        )


class EncodingCollate:
    """Makes the features of rows that are to be embedded and remembers where each belongs."""

    def __init__(self, preprocess: Preprocessing) -> None:
        self.preprocess = preprocess

    def __call__(self, rows: Sequence[tuple[int, EncoderRow]]) -> EncodeBatch:
        """Return one batch to embed."""
        return EncodeBatch(
            features=self.preprocess([row for _, row in rows]),
            rows=torch.tensor([index for index, _ in rows], dtype=torch.int64),
        )


def _padded(ids: list[list[int]]) -> torch.Tensor:
    width = max(len(row) for row in ids)
    return torch.tensor([row + [NO_ID] * (width - len(row)) for row in ids], dtype=torch.int64)
