"""Embedding rows of an mteb task: into a store (searches) or into memory (everything else), never padded by chance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from lit_mmembed.data.collate import EncodingCollate
from lit_mmembed.data.encoding import SortedBatches
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.mllm_preprocess import CHARACTERS_PER_TOKEN
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.mteb.rows import TaskRows
from lit_mmembed.progress import progress
from lit_mmembed.retrieval.store import Store, StoreWriter
from lit_mmembed.types import EncodeBatch, EncoderRow, Side


@dataclass(frozen=True)
class Embedding:
    """How rows are embedded: what `mmembed encode` takes."""

    device: str = "cpu"
    autocast: torch.dtype | None = None
    """bfloat16 or float16; None embeds in float32."""
    rows: int = 256
    """Rows of a batch, at most."""
    tokens: int | None = None
    """Tokens of a batch, images expanded; None only counts rows."""
    workers: int = 0
    dtype: Literal["float16", "float32"] = "float16"
    """How a store keeps vectors."""
    lengths: tuple[int, int] | None = None
    """Tokens of a query and of a document at most; None: the encoder's own."""

    def length(self, side: Side) -> int | None:
        """Tokens at most on this side."""
        return None if self.lengths is None else self.lengths[0 if side is Side.QUERY else 1]

    def context(self) -> AbstractContextManager[Any]:
        """The precision to embed in."""
        return nullcontext() if self.autocast is None else torch.autocast(self.device.split(":")[0], self.autocast)


def check_lengths(encoder: Encoder, embedding: Embedding) -> None:
    """Refuse lengths that the encoder does not take (CLIP's are fixed)."""
    if embedding.lengths is not None and not getattr(encoder.preprocess, "takes_lengths", False):
        raise InputError("the model takes no lengths: its own are fixed", fix="leave --lengths out")


def embed_to_store(
    encoder: Encoder, rows: TaskRows, out: Path, *, embedding: Embedding, manifest: Mapping[str, Any], what: str
) -> Store:
    """Embed rows into a store; one that is finished is taken as it is, a partial one is gone on with.

    A row with neither text nor image becomes the zero vector, whose similarity to everything is 0.
    """
    if not out.exists():
        writer = StoreWriter(
            out,
            ids=rows.ids,
            modality=rows.modality,
            task=np.full(len(rows), -1),
            dimension=encoder.dimension,
            dtype=embedding.dtype,
            manifest=manifest,
        )
        missing = writer.missing_rows()
        blank = missing[rows.blank[missing]]
        writer.write(blank, np.zeros((len(blank), encoder.dimension)))
        with progress(what, total=len(rows)) as step:
            step(len(rows) - len(missing) + len(blank))
            for batch in _batches(encoder, rows, embedding, np.setdiff1d(missing, blank)):
                writer.write(batch.rows.numpy(), _vectors(encoder, batch, embedding))
                step(len(batch.rows))
        writer.finish()
    return Store(out)


def embed_rows(encoder: Encoder, rows: list[EncoderRow], embedding: Embedding) -> np.ndarray:
    """[n, D] float32 vectors of rows in memory, in their order; the zero vector for a row without content."""
    vectors = np.zeros((len(rows), encoder.dimension), dtype=np.float32)
    full = np.array([i for i, row in enumerate(rows) if row.text or row.image is not None], dtype=np.int64)
    if not len(full):
        return vectors
    characters = np.array([len(row.text or "") + len(row.instruction or "") for row in rows], dtype=np.int64)
    images = np.array([row.image is not None for row in rows])
    tokens = estimated_tokens(encoder, characters, images, rows[0].side, embedding)
    sampler = SortedBatches(tokens, embedding.rows, missing=full, tokens=tokens, budget=embedding.tokens)
    collate = EncodingCollate(encoder.preprocess)
    for places in sampler:
        batch = collate([(place, rows[place]) for place in places])
        vectors[batch.rows.numpy()] = _vectors(encoder, batch, embedding)
    return vectors


def estimated_tokens(
    encoder: Encoder, characters: np.ndarray, images: np.ndarray, side: Side, embedding: Embedding
) -> np.ndarray:
    """[n] int64 tokens that rows cost, with the lengths asked for in place of the encoder's own."""
    length = embedding.length(side)
    if length is None:
        return encoder.preprocess.lengths(characters, images, side)
    nothing, none = np.zeros_like(characters), np.zeros_like(images)
    of_image = encoder.preprocess.lengths(nothing, images, side) - encoder.preprocess.lengths(nothing, none, side)
    return np.minimum(characters // CHARACTERS_PER_TOKEN + 2, length) + of_image


def _batches(encoder: Encoder, rows: TaskRows, embedding: Embedding, missing: np.ndarray) -> Iterator[EncodeBatch]:
    """Longest first, sorted by modality and length, as `mmembed encode` takes them."""
    asked = len(rows.asked.instruction or "") if rows.asked else 0
    tokens = estimated_tokens(encoder, rows.characters + asked, rows.images, rows.side, embedding)
    sampler = SortedBatches(
        rows.modality.astype(np.int64) * (1 << 40) + rows.characters,
        embedding.rows,
        missing=missing,
        tokens=tokens if embedding.tokens else None,
        budget=embedding.tokens,
    )
    loader: DataLoader[EncodeBatch] = DataLoader(
        rows,  # type: ignore[arg-type]
        batch_sampler=sampler,
        collate_fn=EncodingCollate(encoder.preprocess),
        num_workers=embedding.workers,
    )
    yield from loader


@torch.inference_mode()
def _vectors(encoder: Encoder, batch: EncodeBatch, embedding: Embedding) -> np.ndarray:
    on_device = {name: tensor.to(embedding.device, non_blocking=True) for name, tensor in batch.features.items()}
    with embedding.context():
        return encoder(on_device).float().cpu().numpy()
