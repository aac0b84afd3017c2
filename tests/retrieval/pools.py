"""Pools of vectors to search in, and the naive search that every index is held against."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st


class Pool(NamedTuple):
    query: np.ndarray
    candidate: np.ndarray
    tie_rank: np.ndarray
    k: int
    tile: int


def naive(query, candidate, k, tie_rank):
    """Every pair by an exact sum, rounded to float32; score down, then tie_rank up."""
    score, row = [], []
    for q in query.astype(np.float64).tolist():
        scores = [float(np.float32(math.fsum(a * b for a, b in zip(q, c, strict=True)))) for c in candidate.tolist()]
        best = sorted(range(len(scores)), key=lambda place: (-scores[place], tie_rank[place]))[:k]
        score.append([scores[place] for place in best])
        row.append(best)
    return score, row


def assert_found_as_naive(index, pool: Pool):
    score, row = index.search(pool.query, pool.k)
    assert (score.dtype, row.dtype) == (np.float32, np.int64)
    assert (score.tolist(), row.tolist()) == naive(pool.query, pool.candidate, pool.k, pool.tie_rank)


@st.composite
def pools(draw):
    """Any shapes; vectors of a coarse grid (many ties), of few distinct ones (duplicates), near-ties or Gaussian."""
    queries, documents, dimension = draw(st.integers(0, 6)), draw(st.integers(1, 90)), draw(st.integers(1, 20))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    candidate = generator.normal(size=(documents, dimension))
    kind = draw(st.sampled_from(["grid", "duplicates", "near-ties", "gaussian", "equal"]))
    if kind == "grid":
        candidate = np.round(candidate)
    elif kind == "duplicates":
        candidate = candidate[generator.integers(0, min(4, documents), documents)]
    elif kind == "near-ties":
        candidate = candidate[:1] * (1 + 2.0**-22 * generator.integers(-8, 8, (documents, dimension)))
    elif kind == "equal":
        candidate[:] = candidate[0]
    scale = draw(st.sampled_from([1e-3, 1.0, 100.0]))
    return Pool(
        query=generator.normal(size=(queries, dimension)).astype(np.float32),
        candidate=(candidate * scale).astype(draw(st.sampled_from(["float16", "float32"]))),
        tie_rank=generator.permutation(documents),
        k=draw(st.integers(1, 100)),
        tile=draw(st.integers(1, 100)),
    )


def gaussian(documents, *, queries=8, dimension=32, k=10, tile=1 << 15, dtype="float32"):
    """A larger pool of unit vectors, the ids in the order of the rows."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(queries + documents, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Pool(
        query=vectors[:queries].astype(np.float32),
        candidate=vectors[queries:].astype(dtype),
        tie_rank=np.arange(documents),
        k=k,
        tile=tile,
    )


def nearly_equal(documents, *, bits=24, seed=0):
    """What a collapsed encoder makes: vectors that are equal but for their last bits."""
    generator = np.random.default_rng(seed)
    base = np.abs(generator.normal(size=256))
    candidate = base * (1 + 2.0**-bits * generator.integers(-2, 3, (documents, 256)))
    return Pool(
        query=base[None].astype(np.float32),
        candidate=candidate.astype(np.float32),
        tie_rank=generator.permutation(documents),
        k=40,
        tile=700,
    )
