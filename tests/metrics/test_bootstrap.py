"""Intervals and paired tests on cases whose answer is known."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from lit_mmembed.metrics import bootstrap
from lit_mmembed.metrics.bootstrap import bootstrap_means, interval, paired_test, sign_flip_p


def test_a_resample_is_a_mean_of_rows_drawn_with_replacement() -> None:
    values = np.array([[0.0], [3.0], [3.0]])
    means, counts = np.unique(bootstrap_means(values, 20_000, np.random.default_rng(5)).round(9), return_counts=True)
    exact = Counter(round(float(np.mean(drawn)), 9) for drawn in product((0.0, 3.0, 3.0), repeat=3))
    assert means.tolist() == sorted(exact)
    np.testing.assert_allclose(counts / 20_000, [exact[mean] / 27 for mean in means], atol=0.01)


def test_the_metrics_of_a_query_are_drawn_together() -> None:
    values = np.random.default_rng(0).normal(size=(7, 1))
    means = bootstrap_means(np.hstack([values, 1 - values]), 50, np.random.default_rng(5))
    np.testing.assert_allclose(means.sum(axis=1), 1.0)


def test_resampling_in_blocks_draws_the_same(monkeypatch) -> None:
    values = np.random.default_rng(0).normal(size=(7, 2))
    whole = bootstrap_means(values, 31, np.random.default_rng(5))
    monkeypatch.setattr(bootstrap, "BLOCK_VALUES", 50)
    np.testing.assert_allclose(bootstrap_means(values, 31, np.random.default_rng(5)), whole)


def test_the_interval_of_a_mean_is_about_two_standard_errors_to_each_side() -> None:
    values = np.random.default_rng(0).normal(size=(2000, 1))
    low, high = interval(bootstrap_means(values, 2000, np.random.default_rng(1)))
    error = 1.96 * values.std() / np.sqrt(2000)
    assert low[0] == pytest.approx(values.mean() - error, abs=0.1 * error)
    assert high[0] == pytest.approx(values.mean() + error, abs=0.1 * error)


def test_p_approaches_the_exact_permutation_test() -> None:
    difference = np.array([1.0, 0.5, -0.25, 2.0, 0.0, 0.75, -0.5, 1.0])
    flips = [abs(np.dot(signs, difference)) for signs in product((-1, 1), repeat=len(difference))]
    exact = np.mean([flip >= abs(difference.sum()) - 1e-12 for flip in flips])
    assert sign_flip_p(difference, 20_000, np.random.default_rng(0)) == pytest.approx(exact, abs=0.01)


def test_equal_systems_do_not_differ_and_opposite_ones_do() -> None:
    same = np.ones(50)
    assert paired_test(same, same, 100, np.random.default_rng(0)) == (0.0, 0.0, 0.0, 1.0)
    apart = paired_test(same, np.zeros(50), 999, np.random.default_rng(0))
    assert apart == (1.0, 1.0, 1.0, 1 / 1000)


def test_under_chance_p_is_below_a_twentieth_in_a_twentieth_of_cases() -> None:
    generator = np.random.default_rng(3)
    ps = [sign_flip_p(generator.normal(size=30), 199, generator) for _ in range(1000)]
    assert np.mean(np.array(ps) <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(np.array(ps) <= 0.5) == pytest.approx(0.5, abs=0.05)


def test_p_has_two_sides() -> None:
    difference = np.random.default_rng(0).normal(0.3, 1, size=40)
    there = sign_flip_p(difference, 999, np.random.default_rng(1))
    assert sign_flip_p(-difference, 999, np.random.default_rng(1)) == there
