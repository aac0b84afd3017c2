"""The two rules of section 4.1.1 against a loop that follows the paper's sentence word by word."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_mmembed.mining.rules import NegativeRule, Unsatisfying, WrongModality

TEXT, IMAGE, BOTH = 0, 1, 2

rankings = st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=70)
runs = st.lists(st.tuples(rankings, st.integers(0, 2)), max_size=6)


def wrong_modality_by_hand(ranking, wanted, depth):
    """Walk down the list; stop at the depth or at the first positive."""
    found = []
    for place, (modality, positive) in enumerate(ranking):
        if place == depth or positive:
            break
        if modality != wanted:
            found.append(place)
    return found


def unsatisfying_by_hand(ranking, wanted, k_prime, depth):
    return [
        rank - 1
        for rank, (modality, positive) in enumerate(ranking, start=1)
        if k_prime < rank <= depth and modality == wanted and not positive
    ]


def columns(ranking):
    return (
        np.array([modality for modality, _ in ranking], dtype=np.int8),
        np.array([positive for _, positive in ranking], dtype=bool),
    )


@given(rankings, st.integers(0, 2), st.integers(1, 60))
def test_wrong_modality_is_the_sentence_of_the_paper(ranking, wanted, depth) -> None:
    found = WrongModality(depth).select(*columns(ranking), wanted)
    assert found.tolist() == wrong_modality_by_hand(ranking, wanted, depth)


@given(rankings, st.integers(0, 2), st.integers(0, 50), st.integers(1, 20))
def test_unsatisfying_is_the_sentence_of_the_paper(ranking, wanted, k_prime, width) -> None:
    found = Unsatisfying(k_prime, k_prime + width).select(*columns(ranking), wanted)
    assert found.tolist() == unsatisfying_by_hand(ranking, wanted, k_prime, k_prime + width)


@settings(deadline=None)
@given(runs, st.integers(1, 60), st.integers(0, 50))
def test_a_whole_run_at_once_gives_what_each_ranking_gives(run, depth, k_prime) -> None:
    modality, positive = columns([row for ranking, _ in run for row in ranking])
    wanted = np.array([wanted for _, wanted in run], dtype=np.int64)
    offsets = np.cumsum([0, *(len(ranking) for ranking, _ in run)])
    for rule in (WrongModality(depth), Unsatisfying(k_prime, depth)):
        one_by_one = NegativeRule.select_all(rule, modality, positive, wanted, offsets)
        assert rule.select_all(modality, positive, wanted, offsets).tolist() == one_by_one.tolist()


@given(rankings, st.integers(0, 2))
def test_no_rule_returns_a_positive_or_goes_deeper_than_its_depth(ranking, wanted) -> None:
    modality, positive = columns(ranking)
    for rule in (WrongModality(10), Unsatisfying(5, 10)):
        found = rule.select(modality, positive, wanted)
        assert not positive[found].any()
        assert (found < 10).all()
        assert found.tolist() == sorted(set(found.tolist()))


def test_a_wrong_modality_negative_ranks_above_the_positive() -> None:
    modality = np.array([TEXT, IMAGE, BOTH, IMAGE, TEXT])
    positive = np.array([False, False, False, True, False])
    assert WrongModality().select(modality, positive, IMAGE).tolist() == [0, 2]


def test_without_a_positive_in_the_top_the_whole_top_is_searched() -> None:
    modality = np.full(60, TEXT)
    positive = np.zeros(60, dtype=bool)
    positive[55] = True
    assert WrongModality(depth=50).select(modality, positive, IMAGE).tolist() == list(range(50))


def test_the_default_ranks_of_unsatisfying_are_46_to_50() -> None:
    found = Unsatisfying().select(np.full(60, IMAGE), np.zeros(60, dtype=bool), IMAGE)
    assert (found + 1).tolist() == [46, 47, 48, 49, 50]


def test_a_right_modality_positive_at_rank_47_is_not_a_negative() -> None:
    positive = np.zeros(60, dtype=bool)
    positive[46] = True
    assert (Unsatisfying().select(np.full(60, IMAGE), positive, IMAGE) + 1).tolist() == [46, 48, 49, 50]


def test_a_rule_of_ones_own_needs_only_kind_and_select() -> None:
    class First(NegativeRule):
        kind = "first"

        def select(self, modality, is_positive, wanted):
            return np.flatnonzero(~is_positive)[:1]

    rows = First().select_all(np.zeros(5), np.array([1, 0, 0, 0, 1], bool), np.zeros(3), np.array([0, 2, 2, 5]))
    assert rows.tolist() == [1, 2]
    with pytest.raises(TypeError):
        NegativeRule()
