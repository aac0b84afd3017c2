"""How sure a number is: bootstrap intervals over queries, and paired tests between two systems.

Shapes: n queries, m metrics of each, S resamples. All draws come from the generator given.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LEVEL = 0.95
BLOCK_VALUES = 1 << 23
"""Resampled values held at once."""


class PairedTest(NamedTuple):
    """The comparison of two systems on the same queries."""

    difference: float
    """Mean of a - b."""
    low: float
    high: float
    """The 95 % percentile interval of the difference (paired bootstrap)."""
    p: float
    """Two-sided p of the sign-flip randomisation test: how often chance alone gives a difference as large."""


def bootstrap_means(values: np.ndarray, samples: int, generator: np.random.Generator) -> np.ndarray:
    """Return the means [S, m] of `samples` resamples, with replacement, of the rows of `values` [n, m].

    How often each distinct row is drawn is one multinomial draw: the same distribution as drawing n rows, at the cost
    of the distinct rows, which are few for metrics of queries.
    """
    rows, count = np.unique(values, axis=0, return_counts=True)
    block = max(1, BLOCK_VALUES // len(rows))
    means = np.empty((samples, values.shape[1]))
    for begin in range(0, samples, block):
        size = min(block, samples - begin)
        drawn = generator.multinomial(len(values), count / len(values), size=size)
        means[begin : begin + size] = drawn @ rows / len(values)
    return means


def interval(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper ends [m] of the 95 % percentile interval of resampled means [S, m]."""
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def paired_test(a: np.ndarray, b: np.ndarray, samples: int, generator: np.random.Generator) -> PairedTest:
    """Compare two systems by one metric of the same queries.

    Args:
        a: [n] the metric of each query under system a.
        b: [n] the same under system b.
        samples: Resamples for the interval, and sign flips for p.
        generator: Where the draws come from.
    """
    difference = np.asarray(a, dtype=np.float64) - b
    low, high = interval(bootstrap_means(difference[:, None], samples, generator))
    p = sign_flip_p(difference, samples, generator)
    return PairedTest(float(difference.mean()), float(low[0]), float(high[0]), p)


def sign_flip_p(difference: np.ndarray, samples: int, generator: np.random.Generator) -> float:
    """Two-sided p that paired differences [n] have mean 0: their signs are flipped at random `samples` times.

    The observed signs count as one of the draws, so p is never 0.
    """
    moved = difference[difference != 0]
    if not len(moved):
        return 1.0
    observed = abs(moved.sum())
    tolerance = 1e-9 * np.abs(moved).sum()
    block = max(1, BLOCK_VALUES // len(moved))
    as_large = 0
    for begin in range(0, samples, block):
        size = min(block, samples - begin)
        sign = 2.0 * generator.integers(0, 2, size=(size, len(moved)), dtype=np.int8) - 1.0
        as_large += int((np.abs(sign @ moved) >= observed - tolerance).sum())
    return (1 + as_large) / (1 + samples)
