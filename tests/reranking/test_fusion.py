"""Fusing scores, choosing the weight, and the order that comes out."""

from __future__ import annotations

import numpy as np
import pytest

from lit_mmembed.errors import InputError
from lit_mmembed.reranking.fusion import Fusion, Judged, choose
from lit_mmembed.reranking.journal import Answered
from lit_mmembed.reranking.reordering import reordered, strictly_falling
from lit_mmembed.retrieval.ranking import from_pairs, read_ranking, write_ranking

HALF = np.float32(0.5)


def answered(*margins):
    count = len(margins)
    return Answered(np.array(margins, np.float32), np.zeros(count, np.int8), np.zeros(count, bool))


def names(ranking):
    edges = zip(ranking.offsets[:-1], ranking.offsets[1:], strict=True)
    return [[ranking.document_ids[code] for code in ranking.document[start:end]] for start, end in edges]


def test_ties_keep_the_order_of_retrieval_and_the_rest_stays_below():
    ranking = from_pairs(["q"] * 5, ["e", "d", "c", "b", "a"], [9.0, 8.0, 7.0, 6.0, 5.0])
    made = reordered(ranking, [answered(0.0, 0.0, 3.0)], None)
    assert names(made) == [["c", "e", "d", "b", "a"]]
    assert made.score.tolist() == [pytest.approx(1 / (1 + np.exp(-3))), 0.5, np.nextafter(HALF, 0), -4, -5]
    again = from_pairs(["q"] * 5, [made.document_ids[d] for d in made.document], made.score)
    assert names(again) == names(made)


def test_scores_of_certainty_still_fall():
    falling = strictly_falling(np.array([1, 1, 1, 0, 0], np.float32))
    assert (np.diff(falling) < 0).all() and np.allclose(falling, [1, 1, 1, 0, 0], atol=1e-6)


@pytest.mark.parametrize("trec", [False, True])
def test_certain_answers_are_ordered_by_their_margins_whoever_reads_the_ranking(trec, tmp_path):
    ranking = from_pairs(["q"] * 6, list("abcdef"), [6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    made = reordered(ranking, [answered(-300.0, 18.0, 40.0, 20.0, -200.0)], None)
    assert names(made) == [list("cdbeaf")]
    write_ranking(tmp_path / "run", made, trec=trec)
    assert names(read_ranking(tmp_path / "run")) == [list("cdbeaf")]
    np.testing.assert_allclose(made.score, [1, 1, 1, 0, 0, -6], atol=1e-6)


@pytest.mark.parametrize(
    ("fusion", "expected"),
    [
        (Fusion(0.0), [1.0, 0.5, 0.0]),
        (Fusion(1.0), [0.5, 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(4))]),
        (Fusion(1.0, "logit"), [4 / 6, 1.0, 0.0]),
        (Fusion(0.25, "logit"), [0.75 + 0.25 * 4 / 6, 0.375 + 0.25, 0.0]),
    ],
)
def test_fused_scores_by_hand(fusion, expected):
    made = fusion.scores(np.array([3.0, 2.0, 1.0]), np.array([0.0, 2.0, -4.0]))
    np.testing.assert_allclose(made, expected, atol=1e-6)


def judged(task, cutoff, margins, right):
    relevant = np.arange(len(margins)) == (-1 if right is None else right)
    return Judged(task, cutoff, np.linspace(1, 0, len(margins)), np.array(margins, float), relevant)


def test_the_weight_with_the_most_hits_over_tasks_is_chosen():
    trusting = [judged("a", 1, [-2.0, 2.0, -2.0], 1)] * 3
    assert choose(trusting)[0].weight > 0.3
    misled = [judged("a", 1, [-2.0, 2.0, -2.0], 0)] * 3
    chosen, grid = choose(misled)
    assert chosen == Fusion(0.0) and grid[0]["hit"] == 1.0
    many_and_one = [judged("a", 1, [-2.0, 2.0], 0)] * 9 + [judged("b", 1, [-2.0, 2.0], 1)]
    assert {row["hit"] for row in choose(many_and_one)[1]} == {0.5}  # tasks weigh the same


def test_infinite_margins_of_the_oracle_can_be_fused():
    made = Fusion(0.5, "logit").scores(np.array([2.0, 1.0]), np.array([-np.inf, np.inf]))
    assert made.tolist() == [0.5, 0.5]


def test_retrieval_scores_are_spread_however_large_they_are():
    made = Fusion(0.0).scores(np.array([30000.0, 20000.0, 10000.0]), np.zeros(3))
    assert made.tolist() == [1.0, 0.5, 0.0]
    assert Fusion(0.0).scores(np.array([np.inf, 1.0, -np.inf]), np.zeros(3)).tolist() == [1.0, 0.5, 0.0]


def test_no_weight_is_chosen_where_no_document_is_labelled():
    with pytest.raises(InputError, match=r"none is labelled as an answer.*fix: choose it on a split with labels"):
        choose([judged("a", 1, [-2.0, 2.0], None)] * 3)
