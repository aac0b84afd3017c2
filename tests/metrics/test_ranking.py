"""Ranking metrics against naive loops and against pytrec_eval (trec_eval).

pytrec_eval orders ties by document id down, we by document id up: its cases have no ties.
"""

import math
import random

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_mmembed.evaluation.qrels import judge, read_qrels
from lit_mmembed.metrics.ranking import METRICS, average_precision, reciprocal_rank
from lit_mmembed.retrieval.ranking import from_pairs

CUTOFFS = (1, 3, 5, 10, 1000)
TREC_NAMES = {"hit": "success_{}", "recall": "recall_{}", "ndcg": "ndcg_cut_{}", "map": "map_cut_{}"}

worlds = st.lists(  # of queries: (relevance of each of some documents, the order of retrieval)
    st.tuples(
        st.dictionaries(st.integers(0, 14), st.integers(0, 3), min_size=1, max_size=12),
        st.permutations(range(15)).map(lambda order: order[:11]),
    ),
    min_size=1,
    max_size=5,
)


def judged(world, folder):
    lines = [f"q{q} 0 d{d} {rel}\n" for q, (relevance, _) in enumerate(world) for d, rel in relevance.items()]
    (folder / "qrels").write_text("".join(lines))
    pairs = [(f"q{q}", f"d{d}", -rank) for q, (_, order) in enumerate(world) for rank, d in enumerate(order)]
    return judge(from_pairs(*zip(*pairs, strict=True)), read_qrels(folder / "qrels"))[0]


def naive(metric, relevance, order, k):
    """One query, by the textbook."""
    gains = [relevance.get(document, 0) for document in order[:k]]
    positives = sorted((rel for rel in relevance.values() if rel > 0), reverse=True)
    ranks = [rank for rank, gain in enumerate(gains, start=1) if gain > 0]
    if metric == "hit":
        return float(bool(ranks))
    if metric == "mrr":
        return 1 / ranks[0] if ranks else 0.0
    if not positives:
        return 0.0
    if metric == "recall":
        return len(ranks) / len(positives)
    if metric == "map":
        return sum(number / rank for number, rank in enumerate(ranks, start=1)) / len(positives)
    return dcg(gains) / dcg(positives[:k])


def dcg(gains):
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


@settings(deadline=None)
@given(worlds)
def test_every_metric_is_the_textbooks(tmp_path_factory, world) -> None:
    seen = judged(world, tmp_path_factory.mktemp("w"))
    for metric, function in METRICS.items():
        for k in CUTOFFS:
            expected = [naive(metric, relevance, order, k) for relevance, order in world]
            np.testing.assert_allclose(function(seen, k), expected, atol=1e-12, err_msg=f"{metric}@{k}")


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_trec_evals_to_a_millionth(tmp_path, seed) -> None:
    rng = random.Random(seed)
    documents = [f"9:{n}" for n in range(300)]
    qrels = {f"9:{q}": {d: rng.randint(0, 3) for d in rng.sample(documents, rng.randint(1, 60))} for q in range(60)}
    run = {qid: dict(zip(rng.sample(documents, 120), rng.sample(range(999), 120), strict=True)) for qid in qrels}
    (tmp_path / "qrels").write_text("".join(f"{q} 0 {d} {r}\n" for q, row in qrels.items() for d, r in row.items()))
    ranking = from_pairs(*zip(*((q, d, s) for q, row in run.items() for d, s in row.items()), strict=True))
    seen, _ = judge(ranking, read_qrels(tmp_path / "qrels"))
    cuts = ",".join(map(str, CUTOFFS))
    measures = {f"{name}.{cuts}" for name in ("success", "recall", "ndcg_cut", "map_cut")} | {"map", "recip_rank"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate({q: as_floats(row) for q, row in run.items()})
    ours = {name.format(k): METRICS[metric](seen, k) for metric, name in TREC_NAMES.items() for k in CUTOFFS}
    ours |= {"map": average_precision(seen), "recip_rank": reciprocal_rank(seen)}
    for name, values in ours.items():
        np.testing.assert_allclose(values, [theirs[q][name] for q in ranking.query_ids], atol=1e-6, err_msg=name)


def as_floats(row):
    return {document: float(score) for document, score in row.items()}


def test_ties_are_ordered_by_document_id_up(tmp_path) -> None:
    (tmp_path / "qrels").write_text("q 0 a 1\n")
    seen, _ = judge(from_pairs(["q", "q"], ["b", "a"], [1, 1]), read_qrels(tmp_path / "qrels"))
    assert METRICS["hit"](seen, 1).tolist() == [1.0]


def test_hit_is_not_recall(tmp_path) -> None:
    seen = judged([({0: 1, 1: 1, 2: 1, 3: 1}, [0, 9, 1])], tmp_path)
    assert METRICS["hit"](seen, 3).tolist() == [1.0]
    assert METRICS["recall"](seen, 3).tolist() == [0.5]


def test_a_relevance_of_zero_or_less_is_not_a_positive(tmp_path) -> None:
    seen = judged([({0: 0, 1: -1}, [0, 1])], tmp_path)
    assert [function(seen, 5).tolist() for function in METRICS.values()] == [[0.0]] * 5
