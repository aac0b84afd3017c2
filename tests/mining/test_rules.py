"""The two rules of section 4.1.1 against a loop that follows the paper's sentence word by word."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_mmembed.mining.rules import NegativeRule, Retrieved, Unsatisfying, WrongModality

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


def retrieved(*rankings, wanted):
    """Rankings of (modality, is a positive), laid end to end; scores play no part."""
    rows = [row for ranking in rankings for row in ranking]
    return Retrieved(
        modality=np.array([modality for modality, _ in rows], dtype=np.int8),
        is_positive=np.array([positive for _, positive in rows], dtype=bool),
        score=np.zeros(len(rows), dtype=np.float32),
        wanted=np.array(wanted, dtype=np.int64),
        offsets=np.cumsum([0, *map(len, rankings)]),
        seeds=np.arange(len(rankings)),
    )


def one(modality, positive, wanted=IMAGE):
    """The ranking of one query."""
    return retrieved(list(zip(modality, positive, strict=True)), wanted=[wanted])


@given(rankings, st.integers(0, 2), st.integers(1, 60))
def test_wrong_modality_is_the_sentence_of_the_paper(ranking, wanted, depth) -> None:
    found = WrongModality(depth).select(retrieved(ranking, wanted=[wanted]))
    assert found.tolist() == wrong_modality_by_hand(ranking, wanted, depth)


@given(rankings, st.integers(0, 2), st.integers(0, 50), st.integers(1, 20))
def test_unsatisfying_is_the_sentence_of_the_paper(ranking, wanted, k_prime, width) -> None:
    found = Unsatisfying(k_prime, k_prime + width).select(retrieved(ranking, wanted=[wanted]))
    assert found.tolist() == unsatisfying_by_hand(ranking, wanted, k_prime, k_prime + width)


@settings(deadline=None)
@given(runs, st.integers(1, 60), st.integers(0, 50))
def test_a_whole_run_at_once_gives_what_each_ranking_gives(run, depth, k_prime) -> None:
    whole = retrieved(*(ranking for ranking, _ in run), wanted=[wanted for _, wanted in run])
    for rule in (WrongModality(depth), Unsatisfying(k_prime, depth)):
        assert rule.select_all(whole).tolist() == NegativeRule.select_all(rule, whole).tolist()


@given(rankings, st.integers(0, 2))
def test_no_rule_returns_a_positive_or_goes_deeper_than_its_depth(ranking, wanted) -> None:
    whole = retrieved(ranking, wanted=[wanted])
    for rule in (WrongModality(10), Unsatisfying(5, 10)):
        found = rule.select(whole)
        assert not whole.is_positive[found].any()
        assert (found < 10).all()
        assert found.tolist() == sorted(set(found.tolist()))


def test_a_wrong_modality_negative_ranks_above_the_positive() -> None:
    ranking = one([TEXT, IMAGE, BOTH, IMAGE, TEXT], [False, False, False, True, False])
    assert WrongModality().select(ranking).tolist() == [0, 2]


def test_without_a_positive_in_the_top_the_whole_top_is_searched() -> None:
    ranking = one([TEXT] * 60, [rank == 56 for rank in range(1, 61)])
    assert WrongModality(depth=50).select(ranking).tolist() == list(range(50))


def test_the_default_ranks_of_unsatisfying_are_46_to_50() -> None:
    assert (Unsatisfying().select(one([IMAGE] * 60, [False] * 60)) + 1).tolist() == [46, 47, 48, 49, 50]


def test_a_right_modality_positive_at_rank_47_is_not_a_negative() -> None:
    ranking = one([IMAGE] * 60, [rank == 47 for rank in range(1, 61)])
    assert (Unsatisfying().select(ranking) + 1).tolist() == [46, 48, 49, 50]


def test_a_rule_of_ones_own_needs_only_kind_and_select() -> None:
    class First(NegativeRule):
        kind = "first"

        def select(self, ranking):
            return np.flatnonzero(~ranking.is_positive)[:1]

    documents = [[(TEXT, True), (TEXT, False)], [], [(TEXT, False), (TEXT, False), (TEXT, True)]]
    assert First().select_all(retrieved(*documents, wanted=[TEXT] * 3)).tolist() == [1, 2]
    assert (First().settings, First().filtered(retrieved(wanted=[]))) == ({}, None)
    with pytest.raises(TypeError):
        NegativeRule()
