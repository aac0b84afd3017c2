"""Intervals over queries and seeds, and Holm's correction, beside loops that anybody can follow."""

import math
import random

import numpy as np
import pytest

from lit_mmembed.evaluation.comparison.statistics import (
    Draws,
    average,
    holm,
    is_paired,
    measure_paired,
    measure_unpaired,
)

DRAWS = Draws(4000, 0)
T_975 = {1: 12.706, 2: 4.303}
"""Student's t by degrees of freedom."""


def generator():
    return np.random.default_rng(5)


def values_of(seeds, queries, *, spread=0.0, noise=0.3, seed=0):
    """[seeds, queries] around 0: a part of the seed, a part of the query."""
    draw = np.random.default_rng(seed)
    return spread * draw.standard_normal((seeds, 1)) + noise * draw.standard_normal((seeds, queries))


def naive_residual(values):
    """What queries make of the variance of the mean under each seed, as loops over a two-way layout."""
    seeds, queries = len(values), len(values[0])
    whole = sum(map(sum, values)) / (seeds * queries)
    by_seed = [sum(row) / queries for row in values]
    by_query = [sum(row[q] for row in values) / seeds for q in range(queries)]
    rest = [values[s][q] - by_seed[s] - by_query[q] + whole for s in range(seeds) for q in range(queries)]
    return sum(value**2 for value in rest) / ((seeds - 1) * (queries - 1)) / (seeds * queries)


def naive_variance(means, residual):
    whole = sum(means) / len(means)
    return max(0.0, sum((m - whole) ** 2 for m in means) / (len(means) - 1) / len(means) - residual)


def naive_variance_of_seeds(values):
    return naive_variance([sum(row) / len(row) for row in values], naive_residual(values))


def test_what_seeds_add_is_the_variance_component_of_a_two_way_layout() -> None:
    base, other = values_of(3, 40, spread=0.2, seed=1), values_of(3, 40, seed=2)
    measured = measure_paired(base, other, 50, generator())
    assert measured.seeds[0].variance == pytest.approx(naive_variance_of_seeds((other - base).tolist()))
    assert measured.by_seed == pytest.approx((other - base).mean(axis=1))
    for seeds, values in zip(measure_unpaired(base, other, 50, generator()).seeds, (base, other), strict=True):
        assert seeds.variance == pytest.approx(naive_variance_of_seeds(values.tolist()))


def test_one_seed_gives_the_paired_bootstrap_over_queries() -> None:
    base, other = values_of(1, 60, seed=1), values_of(1, 60, seed=2)
    low, high = measure_paired(base, other, 4000, generator()).ends(DRAWS)
    draw = random.Random(0)
    difference = (other - base)[0].tolist()
    means = sorted(sum(draw.choices(difference, k=60)) / 60 for _ in range(4000))
    assert low == pytest.approx(means[100], abs=0.01)
    assert high == pytest.approx(means[3900], abs=0.01)


def test_queries_alike_in_every_seed_leave_students_t_over_seeds() -> None:
    """Every query has the same value under a seed: there is nothing but the seeds."""
    by_seed = [0.1, 0.3, 0.2]
    other = np.repeat(np.array(by_seed)[:, None], 50, axis=1)
    low, high = measure_paired(np.zeros((3, 50)), other, 20_000, generator()).ends(Draws(20_000, 0))
    reach = T_975[2] * np.std(by_seed, ddof=1) / math.sqrt(3)
    assert (low, high) == pytest.approx((0.2 - reach, 0.2 + reach), rel=0.05, abs=0.02)


def test_paired_seeds_cancel_what_both_systems_share() -> None:
    shared = values_of(3, 50, spread=1.0, noise=0.0, seed=3)
    base, other = shared + values_of(3, 50, seed=4) * 0.1, shared + values_of(3, 50, seed=5) * 0.1
    paired, unpaired = (
        measure(base, other, 2000, generator()).ends(DRAWS) for measure in (measure_paired, measure_unpaired)
    )
    assert unpaired[1] - unpaired[0] > 10 * (paired[1] - paired[0])


@pytest.mark.parametrize(("spread", "noise"), [(0.1, 0.2), (0.0, 0.3)])
def test_intervals_over_three_seeds_cover_the_truth_about_as_often_as_they_say(spread, noise) -> None:
    covered = 0
    for trial in range(300):
        other = values_of(3, 80, spread=spread, noise=noise, seed=1000 + trial)
        low, high = measure_paired(np.zeros((3, 80)), other, 400, generator()).ends(Draws(400, trial))
        covered += low <= 0 <= high
    assert 0.9 <= covered / 300 <= 1.0


def test_an_average_weighs_tasks_alike_and_takes_the_seeds_of_all_of_them() -> None:
    tasks = [(values_of(2, n, spread=0.2, seed=n), values_of(2, n, spread=0.2, seed=n + 1)) for n in (10, 50)]
    measured = average([measure_paired(base, other, 100, generator()) for base, other in tasks])
    assert measured.difference == pytest.approx(sum((other - base).mean() for base, other in tasks) / 2)
    by_seed = [sum((other - base)[seed].mean() for base, other in tasks) / 2 for seed in range(2)]
    assert measured.by_seed == pytest.approx(by_seed)
    residual = sum(naive_residual((other - base).tolist()) for base, other in tasks) / 4
    assert measured.seeds[0].variance == pytest.approx(naive_variance(by_seed, residual))
    assert measured.seeds[0].variance > 0
    assert measured.weighted.sum() == pytest.approx(measured.difference)
    assert len(measured.weighted) == 60


def test_holm_multiplies_the_smallest_p_by_all_tests_and_never_falls_again() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.4, 0.4]) == pytest.approx([0.8, 0.8])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_seeds_are_paired_where_both_systems_have_the_same_ones() -> None:
    assert is_paired(([0, 1, 2], [2, 1, 0]))
    assert not is_paired(([0, 1, 2], [0, 1]))
    assert not is_paired(([0], [1]))


def test_p_is_that_of_swapping_the_systems_names_query_by_query() -> None:
    base, other = np.zeros((2, 6)), np.array([[1, 1, 0, 1, 0, 0], [1, 0, 0, 1, 0, -1.0]])
    measured = measure_paired(base, other, 10, generator())
    sums = [0.0]
    for value in other.mean(axis=0):
        sums = [total + sign * value for total in sums for sign in (1, -1)]
    exact = sum(abs(total) >= abs(sums[0]) - 1e-9 for total in sums) / len(sums)
    assert measured.p(Draws(20_000, 0), "task") == pytest.approx(exact, abs=0.02)
