"""Makes small stores for the tests of stores and of search."""

from __future__ import annotations

import numpy as np

from lit_mmembed.retrieval.store import Store, StoreWriter

MADE_BY = {"weights_hash": "w" * 64, "data_hash": "d", "side": "candidate", "split": "test", "prompts": "first"}


def writer(path, count, dimension=8, *, dtype="float16", names="d{}", **manifest):
    """A writer of rows d0, d1, ... of the modalities 0, 1, 2, 0, ..."""
    return StoreWriter(
        path,
        ids=[names.format(row) for row in range(count)],
        modality=np.arange(count) % 3,
        task=np.full(count, -1),
        dimension=dimension,
        dtype=dtype,
        manifest={**MADE_BY, **manifest},
    )


def vectors_of(count, dimension=8, *, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def store_of(path, vectors, **options):
    """A finished store of these vectors."""
    started = writer(path, len(vectors), vectors.shape[1], **options)
    started.write(np.arange(len(vectors)), vectors)
    started.finish()
    return Store(path)
