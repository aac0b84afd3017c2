"""The filters of NV-Retriever against a loop over one query's documents."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_mmembed.errors import InputError
from lit_mmembed.mining.rules import NegativeRule, PositiveAware, Retrieved

TEXT, IMAGE = 0, 1

scores = st.integers(-8, 8).map(lambda eighths: eighths / 8)  # ties are common, and float32 holds them
documents = st.tuples(st.sampled_from([TEXT, IMAGE]), st.booleans(), scores)
rankings = st.lists(documents, max_size=12).map(lambda rows: sorted(rows, key=lambda row: -row[2]))
runs = st.lists(st.tuples(rankings, st.sampled_from([TEXT, IMAGE])), min_size=1, max_size=4)
limits = st.fixed_dictionaries(
    {
        "margin": st.none() | st.sampled_from([0.0, 0.125, 0.5]),
        "fraction": st.none() | st.sampled_from([0.0, 0.5, 0.75, 1.0]),
        "max_score": st.none() | scores,
    }
).filter(lambda limits: any(limit is not None for limit in limits.values()))
windows = st.fixed_dictionaries({"first": st.integers(1, 4), "last": st.none() | st.integers(4, 9)})


def retrieved(*rankings, wanted=None):
    rows = [row for ranking in rankings for row in ranking]
    modality, positive, score = zip(*rows, strict=True) if rows else ((), (), ())
    return Retrieved(
        modality=np.array(modality, dtype=np.int8),
        is_positive=np.array(positive, dtype=bool),
        score=np.array(score, dtype=np.float32),
        wanted=np.array([TEXT] * len(rankings) if wanted is None else wanted, dtype=np.int64),
        offsets=np.cumsum([0, *map(len, rankings)]),
        seeds=np.arange(100, 100 + len(rankings)),
    )


def texts(*scores, positives=()):
    """A ranking of texts with these scores; `positives` are ranks from 1."""
    return [(TEXT, rank in positives, score) for rank, score in enumerate(scores, start=1)]


def by_hand(ranking, wanted, *, margin, fraction, max_score, first, last):
    """The ranks, from 0, that survive: one document after the other."""
    positives = [score for _, positive, score in ranking if positive]
    needs_positive = margin is not None or fraction is not None
    found = []
    for rank, (modality, positive, score) in enumerate(ranking, start=1):
        if positive or modality != wanted or rank < first or (last is not None and rank > last):
            continue
        if needs_positive and not positives:
            continue
        if margin is not None and not all(score < positive - margin for positive in positives):
            continue
        if fraction is not None and score >= min(positives) - abs(min(positives)) * (1 - fraction):
            continue
        if max_score is not None and score >= max_score:
            continue
        found.append(rank - 1)
    return found


@settings(deadline=None)
@given(rankings, st.sampled_from([TEXT, IMAGE]), limits, windows)
def test_what_survives_is_what_a_loop_over_the_documents_leaves(ranking, wanted, limits, window) -> None:
    found = PositiveAware(**limits, **window).select(retrieved(ranking, wanted=[wanted]))
    assert found.tolist() == by_hand(ranking, wanted, **limits, **window)


@settings(deadline=None)
@given(runs, limits, windows, st.none() | st.integers(1, 5), st.sampled_from(["best", "random"]))
def test_a_whole_run_at_once_gives_what_each_ranking_gives(run, limits, windows, per_query, choose) -> None:
    whole = retrieved(*(ranking for ranking, _ in run), wanted=[wanted for _, wanted in run])
    rule = PositiveAware(**limits, **windows, per_query=per_query, choose=choose)
    assert rule.select_all(whole).tolist() == NegativeRule.select_all(rule, whole).tolist()


@settings(deadline=None)
@given(rankings, limits, st.integers(1, 5), st.sampled_from(["best", "random"]))
def test_at_most_so_many_survivors_are_taken_and_all_where_there_are_fewer(ranking, limits, most, choose) -> None:
    every = PositiveAware(**limits).select(retrieved(ranking)).tolist()
    some = PositiveAware(**limits, per_query=most, choose=choose).select(retrieved(ranking)).tolist()
    assert len(some) == min(most, len(every))
    assert set(some) <= set(every)
    assert some == sorted(some)
    if choose == "best":
        assert some == every[:most]


def test_a_negative_stays_more_than_the_margin_below_the_positive() -> None:
    ranking = retrieved(texts(0.9, 0.8, 0.76, 0.7, positives=[2]))
    assert PositiveAware(margin=0.05).select(ranking).tolist() == [3]
    assert PositiveAware(margin=0).select(ranking).tolist() == [2, 3]


def test_a_document_as_good_as_the_positive_is_no_negative() -> None:
    ranking = retrieved(texts(0.75, 0.75, 0.5, positives=[1]))
    for rule in (PositiveAware(margin=0), PositiveAware(fraction=1), PositiveAware(max_score=0.75)):
        assert rule.select(ranking).tolist() == [2]


def test_a_share_of_the_positives_score_is_a_relative_margin() -> None:
    ranking = retrieved(texts(0.8, 0.77, 0.75, 0.4, positives=[1]))
    assert PositiveAware(fraction=0.95).select(ranking).tolist() == [2, 3]


def test_a_share_of_a_negative_score_never_lets_a_document_above_the_positive_in() -> None:
    """0.5 x -0.4 is -0.2, above the positive: the limit is as far below it as it would be for +0.4."""
    ranking = retrieved(texts(-0.25, -0.4, -0.5, -0.7, positives=[2]))
    assert PositiveAware(fraction=0.5).select(ranking).tolist() == [3]


def test_of_several_positives_the_lowest_one_in_the_ranking_counts() -> None:
    ranking = retrieved(texts(0.9, 0.8, 0.6, 0.5, 0.4, positives=[1, 4]))
    assert PositiveAware(margin=0.05).select(ranking).tolist() == [4]


def test_without_a_positive_in_the_ranking_only_an_absolute_limit_leaves_something() -> None:
    ranking = retrieved(texts(0.9, 0.8, -0.6))
    assert PositiveAware(margin=0).select(ranking).tolist() == []
    assert PositiveAware(fraction=0).select(ranking).tolist() == []
    assert PositiveAware(margin=0, max_score=0.85).select(ranking).tolist() == []
    assert PositiveAware(max_score=0.85).select(ranking).tolist() == [1, 2]


def test_a_positive_outside_the_window_still_sets_the_limit() -> None:
    ranking = retrieved(texts(0.9, 0.8, 0.7, 0.6, 0.5, positives=[4]))
    assert PositiveAware(margin=0, first=1, last=3).select(ranking).tolist() == []
    assert PositiveAware(margin=0, first=2, last=5).select(ranking).tolist() == [4]


def test_what_is_drawn_for_a_query_depends_on_its_id_and_the_seed_alone() -> None:
    ranking = texts(*np.linspace(1, 0, 40), positives=[1])
    run = retrieved(*[ranking] * 3)
    rules = [PositiveAware(fraction=0.9, per_query=5, choose="random", seed=seed) for seed in (0, 1)]
    drawn = {(seed, query): rules[seed].select(run.one(query)).tolist() for seed, query in product((0, 1), range(3))}
    assert len({tuple(ranks) for ranks in drawn.values()}) == 6
    assert drawn[0, 2] == [row - 80 for row in rules[0].select_all(run).tolist() if row >= 80]


def test_draws_reach_every_survivor_about_equally_often() -> None:
    run = retrieved(*[texts(1, 0.4, 0.3, 0.2, 0.1, positives=[1])] * 400)
    rows = PositiveAware(fraction=0.5, per_query=1, choose="random").select_all(run)
    counts = np.bincount(rows % 5, minlength=5)
    assert counts[0] == 0 and len(rows) == 400
    assert all(abs(count - 100) < 5 * math.sqrt(75) for count in counts[1:])


def test_what_each_filter_removes_is_told_apart() -> None:
    run = retrieved(texts(0.9, 0.8, 0.7, 0.2, positives=[2]), texts(0.9, 0.1))
    filtered = PositiveAware(margin=0.2, max_score=0.75).filtered(run)
    assert filtered.considered.tolist() == [True, False, True, True, True, True]
    assert {name: np.flatnonzero(rows).tolist() for name, rows in filtered.removed.items()} == {
        "margin": [0, 2],
        "no_positive": [4, 5],
        "max_score": [0, 4],
    }
    assert np.flatnonzero(filtered.survived).tolist() == [3]
    assert filtered.has_positive.tolist() == [True, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "positive_aware has no limit"),
        ({"margin": -0.1}, "margin -0.1 is negative"),
        ({"margin": math.nan}, "margin nan is negative"),
        ({"fraction": 1.05}, "fraction 1.05 is not a share"),
        ({"fraction": 0.9, "first": 0}, "ranks 0 to None are no window"),
        ({"fraction": 0.9, "first": 5, "last": 4}, "ranks 5 to 4 are no window"),
        ({"fraction": 0.9, "per_query": 0}, "0 negatives per query are none"),
    ],
)
def test_settings_without_a_sense_are_refused(settings, message) -> None:
    with pytest.raises(InputError, match=message):
        PositiveAware(**settings).check()
