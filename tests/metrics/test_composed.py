"""CIRCO's average precision and recall of the target, beside cases worked by hand and loops."""

from __future__ import annotations

import numpy as np
import pytest

from lit_mmembed.metrics.composed import capped_average_precision, found_within
from lit_mmembed.metrics.ranking import Judged


def judged(ranks: list[list[int]], positives: list[int]) -> Judged:
    """Rankings whose positives stand at these ranks; each query has so many positives."""
    query = np.repeat(np.arange(len(ranks)), [len(found) for found in ranks])
    rank = np.array([one for found in ranks for one in found], dtype=np.int64)
    all_queries = np.repeat(np.arange(len(ranks)), positives)
    return Judged(len(ranks), query, rank, np.ones_like(rank), all_queries, np.ones_like(all_queries))


def naive(ranks: list[int], positives: int, k: int) -> float:
    total, seen = 0.0, 0
    for rank in range(1, k + 1):
        if rank in ranks:
            seen += 1
            total += seen / rank
    return total / min(positives, k)


def test_average_precision_of_circo_by_hand():
    found = judged([[1, 3, 6], [2], [], [1, 2]], [4, 1, 2, 9])
    assert capped_average_precision(found, 5) == pytest.approx([(1 + 2 / 3) / 4, 1 / 2, 0, 2 / 5])
    assert capped_average_precision(found, 2) == pytest.approx([1 / 2, 1 / 2, 0, 1])
    assert capped_average_precision(found, 10) == pytest.approx([(1 + 2 / 3 + 3 / 6) / 4, 1 / 2, 0, 2 / 9])


def test_average_precision_of_circo_equals_a_loop():
    generator = np.random.default_rng(0)
    positives = generator.integers(1, 15, size=200).tolist()
    ranks = [sorted((generator.permutation(60)[: generator.integers(0, p + 1)] + 1).tolist()) for p in positives]
    for k in (1, 5, 10, 25, 50):
        expected = [naive(found, count, k) for found, count in zip(ranks, positives, strict=True)]
        assert capped_average_precision(judged(ranks, positives), k) == pytest.approx(expected)


def test_a_target_is_found_within_its_rank_and_never_where_it_was_not_retrieved():
    assert found_within(np.array([0, 1, 5, 6]), 5).tolist() == [0, 1, 1, 0]
