"""The paired test between two runs, from files."""

import random

import pytest

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.compare import compare
from lit_mmembed.evaluation.mbeir import evaluate


@pytest.fixture
def world(tmp_path):
    """80 queries of two tasks; run "good" finds the positive first in 9 of 10 cases, "bad" in 3 of 10."""
    rng = random.Random(0)
    qids = [f"9:{n}" for n in range(80)]
    (tmp_path / "qrels").write_text("".join(f"{q} 0 9:1 1 {0 if n < 50 else 3}\n" for n, q in enumerate(qids)))
    for name, share in (("good", 0.9), ("bad", 0.3)):
        lines = [f"{q} Q0 {'9:1' if rng.random() < share else '9:2'} 1 1 x\n" for q in qids]
        (tmp_path / name).write_text("".join(lines))
    return tmp_path


def files(world):
    return world / "good", world / "bad", world / "qrels"


def test_the_means_are_those_of_evaluate_and_the_test_sees_the_difference(world) -> None:
    rows = compare(*files(world), k=1, samples=999)
    assert [(row.task, row.n) for row in rows] == [("mscoco_task0", 50), ("mscoco_task3", 30), ("all", 80)]
    for name, field in (("good", "a"), ("bad", "b")):
        scores = evaluate(run=world / name, qrels=world / "qrels", k=(1,))
        means = {score.task: score.value for score in scores if (score.metric, score.k) == ("hit", 1)}
        assert all(getattr(row, field) == pytest.approx(means[row.task]) for row in rows)
    for row in rows:
        assert row.difference == pytest.approx(row.a - row.b)
        assert 0 < row.low < row.difference < row.high
        assert row.p < 0.01


def test_turning_the_runs_around_turns_the_difference_around(world) -> None:
    good, bad, qrels = files(world)
    for there, back in zip(compare(good, bad, qrels, k=1), compare(bad, good, qrels, k=1), strict=True):
        assert (there.difference, there.low, there.high) == pytest.approx((-back.difference, -back.high, -back.low))
        assert there.p == back.p


def test_a_run_does_not_differ_from_itself(world) -> None:
    good, _, qrels = files(world)
    assert {row.p for row in compare(good, good, qrels, metric="ndcg")} == {1.0}


def test_the_same_seed_gives_the_same_numbers(world) -> None:
    assert compare(*files(world), k=1, seed=3) == compare(*files(world), k=1, seed=3)


def test_an_unknown_metric_is_reported_with_the_known_ones(world) -> None:
    with pytest.raises(InputError, match=r"metric 'recal' is unknown.*hit, recall, ndcg, map, mrr"):
        compare(*files(world), metric="recal")
