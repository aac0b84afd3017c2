"""How sure a difference between two systems is, over queries and over seeds.

Seeds and queries are crossed: every seed of a system answers the same queries. Queries are many and are drawn with
replacement, alike for both systems. Seeds are few: 3 of them, drawn with replacement as queries are, would make an
interval that covers as little as 82 % where it says 95 % (simulated). They add Student's t instead, with S - 1 degrees
of freedom, as wide as the spread between seeds that does not come from queries:

    variance of the seeds' means / S  -  residual variance / (S n)

where the residual is what is left of a query's value under a seed without the query's mean and the seed's mean: the
two-way analysis of variance with seeds and queries at random. In simulations with 300 queries it covers 94 to 96 % with
3 and with 5 seeds, whether seeds, queries or neither differ most; with 2 seeds 88 % at worst.

Shapes: n queries, A and B seeds of the two systems, S seeds, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np

from lit_mmembed.metrics.bootstrap import bootstrap_means, interval, sign_flip_p

SIGNIFICANT = 0.05


class Draws(NamedTuple):
    """Where all draws of a comparison come from."""

    samples: int
    """R, and the number of sign flips."""
    seed: int

    def generator(self, *names: str) -> np.random.Generator:
        """A generator of its own for each purpose: a task's numbers do not depend on which other tasks there are."""
        return np.random.default_rng([self.seed, *(crc32(name.encode()) for name in names)])


class Seeds(NamedTuple):
    """What the seeds of a system, or of two with paired seeds, add to the spread of a difference."""

    means: tuple[float, ...]
    """Mean over queries, by seed."""
    residual: float
    """The part of the variance of their mean that queries make."""

    @property
    def variance(self) -> float:
        """Of the mean over seeds, without what queries make; 0 for one seed, which cannot tell."""
        count = len(self.means)
        return 0.0 if count < 2 else max(0.0, float(np.var(self.means, ddof=1)) / count - self.residual)


class Measured(NamedTuple):
    """One metric of two systems on the same queries."""

    base: float
    """Mean over seeds and queries."""
    other: float
    seeds: tuple[Seeds, ...]
    """Of the difference where seeds are paired, else of base and of other."""
    resampled: np.ndarray
    """[R] other - base, queries drawn."""
    weighted: np.ndarray
    """[n] what each query adds to other - base: its mean over seeds, divided by n."""

    @property
    def difference(self) -> float:
        """other - base."""
        return self.other - self.base

    @property
    def by_seed(self) -> tuple[float, ...]:
        """other - base of each paired seed; empty where the seeds are not paired."""
        return self.seeds[0].means if len(self.seeds) == 1 else ()

    def ends(self, draws: Draws) -> tuple[float, float]:
        """The 95 % interval of the difference."""
        spread = self.resampled.copy()
        for place, seeds in enumerate(self.seeds):
            if seeds.variance > 0:
                student = draws.generator("seeds", str(place)).standard_t(len(seeds.means) - 1, len(spread))
                spread += np.sqrt(seeds.variance) * student
        low, high = interval(spread[:, None])
        return float(low[0]), float(high[0])

    def p(self, draws: Draws, name: str) -> float:
        """Two-sided p of the paired randomisation test over queries: both systems' names are swapped at random."""
        return sign_flip_p(self.weighted, draws.samples, draws.generator("flips", name))


def is_paired(seeds: tuple[Sequence[int], Sequence[int]]) -> bool:
    """Whether two systems were trained with the same seeds."""
    return sorted(seeds[0]) == sorted(seeds[1])


def measure_paired(base: np.ndarray, other: np.ndarray, samples: int, generator: np.random.Generator) -> Measured:
    """Compare the values [S, n] and [S, n] of one metric under the same seeds in the same order."""
    return _measured(base, other, (_seeds(other - base),), bootstrap=(samples, generator))


def measure_unpaired(base: np.ndarray, other: np.ndarray, samples: int, generator: np.random.Generator) -> Measured:
    """Compare the values [A, n] and [B, n] of one metric: other seeds, the same queries."""
    return _measured(base, other, (_seeds(base), _seeds(other)), bootstrap=(samples, generator))


def average(members: Sequence[Measured]) -> Measured:
    """The plain mean over tasks: queries are drawn within each task, seeds are those of all tasks."""
    count = len(members)
    seeds = tuple(
        Seeds(
            tuple(np.mean([member.means for member in parts], axis=0).tolist()),
            sum(member.residual for member in parts) / count**2,
        )
        for parts in zip(*(member.seeds for member in members), strict=True)
    )
    return Measured(
        float(np.mean([member.base for member in members])),
        float(np.mean([member.other for member in members])),
        seeds,
        np.mean([member.resampled for member in members], axis=0),
        np.concatenate([member.weighted / count for member in members]),
    )


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p of each test of a family (Holm 1979): the chance of a single false claim stays below them."""
    corrected, highest = [0.0] * len(p), 0.0
    for place, row in enumerate(sorted(range(len(p)), key=lambda row: p[row])):
        highest = max(highest, min(1.0, (len(p) - place) * p[row]))
        corrected[row] = highest
    return corrected


def _measured(
    base: np.ndarray, other: np.ndarray, seeds: tuple[Seeds, ...], *, bootstrap: tuple[int, np.random.Generator]
) -> Measured:
    by_query = other.mean(axis=0) - base.mean(axis=0)
    resampled = bootstrap_means(by_query[:, None], *bootstrap)[:, 0]
    return Measured(float(base.mean()), float(other.mean()), seeds, resampled, by_query / len(by_query))


def _seeds(values: np.ndarray) -> Seeds:
    """The means and the residual of values [S, n]."""
    count, n = values.shape
    means = values.mean(axis=1)
    if count < 2 or n < 2:
        return Seeds(tuple(means.tolist()), 0.0)
    rest = values - means[:, None] - values.mean(axis=0) + values.mean()
    residual = float((rest**2).sum()) / ((count - 1) * (n - 1)) / (count * n)
    return Seeds(tuple(means.tolist()), residual)
