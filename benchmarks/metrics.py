"""Ranking metrics of 20,000 x 100 documents beside pytrec_eval (the peer) and one pass over the rows (the limit).

Ours and theirs start from what a search leaves in memory (arrays of documents and scores) and end with the mean of the
same 14 measures. pytrec_eval takes dictionaries; its time is given with and without building them. Both have read
their qrels before.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytrec_eval

from benchmarks.measure import interleaved, ratio, save
from lit_mmembed.evaluation.qrels import judge, read_qrels
from lit_mmembed.metrics.ranking import METRICS, average_precision, reciprocal_rank
from lit_mmembed.retrieval.ranking import from_pairs

QUERIES, DEPTH, DOCUMENTS = 20_000, 100, 100_000
CUTOFFS = (1, 5, 10)
NAMES = {"hit": "success", "recall": "recall", "ndcg": "ndcg_cut", "map": "map_cut"}


def make_run(generator):
    """A run without ties, and graded qrels: up to 5 positives among the retrieved, up to 5 anywhere."""
    document = np.concatenate([generator.choice(DOCUMENTS, DEPTH, replace=False) for _ in range(QUERIES)])
    names = np.array([f"9:{number}" for number in range(DOCUMENTS)], dtype=object)
    qids = np.array([f"9:{number}" for number in range(QUERIES)], dtype=object)
    score = np.concatenate([generator.permutation(DEPTH) for _ in range(QUERIES)])
    qrels = {}
    for place, qid in enumerate(qids):
        own = document[place * DEPTH : (place + 1) * DEPTH]
        positives = [*generator.choice(own, generator.integers(0, 6)), *generator.integers(0, DOCUMENTS, 3)]
        qrels[qid] = {names[row]: int(generator.integers(1, 4)) for row in positives}
    return from_pairs(np.repeat(qids, DEPTH), names[document], score), qrels


def as_dictionaries(ranking):
    run = {}
    for place, qid in enumerate(ranking.query_ids):
        rows = slice(ranking.offsets[place], ranking.offsets[place + 1])
        run[qid] = dict(zip(ranking.document_ids[ranking.document[rows]], ranking.score[rows].tolist(), strict=True))
    return run


def ours(ranking, qrels):
    judged, _ = judge(ranking, qrels)
    values = {f"{NAMES[metric]}_{k}": METRICS[metric](judged, k) for metric in NAMES for k in CUTOFFS}
    values |= {"map": average_precision(judged), "recip_rank": reciprocal_rank(judged)}
    return {name: value.mean() for name, value in values.items()}


def theirs(evaluator, run):
    per_query = evaluator.evaluate(run)
    return {name: np.mean([values[name] for values in per_query.values()]) for name in next(iter(per_query.values()))}


def main():
    ranking, judgements = make_run(np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "qrels.txt"
        path.write_text("".join(f"{q} 0 {d} {rel}\n" for q, row in judgements.items() for d, rel in row.items()))
        qrels = read_qrels(path)
    cuts = ",".join(map(str, CUTOFFS))
    evaluator = pytrec_eval.RelevanceEvaluator(
        judgements, {f"{name}.{cuts}" for name in NAMES.values()} | {"map", "recip_rank"}
    )
    run = as_dictionaries(ranking)
    seconds = interleaved(
        {
            "ours": lambda: ours(ranking, qrels),
            "pytrec_eval": lambda: theirs(evaluator, as_dictionaries(ranking)),
            "dictionaries at hand": lambda: evaluator.evaluate(run),
            "pass": lambda: np.cumsum(ranking.document),
        },
        rounds=7,
    )
    us, them = ours(ranking, qrels), theirs(evaluator, run)
    figure = {
        "queries": QUERIES, "depth": DEPTH, "measures": len(us),
        "times_faster_than_pytrec_eval": round(ratio(seconds, "pytrec_eval", "ours"), 1), "target_at_least": 30,
        "times_faster_than_its_evaluate_alone": round(ratio(seconds, "dictionaries at hand", "ours"), 1),
        "times_one_pass_over_the_rows": round(ratio(seconds, "ours", "pass"), 1),
        "largest_difference": max(abs(us[name] - them[name]) for name in them),
    }  # fmt: skip
    save("metrics", [figure])


if __name__ == "__main__":
    main()
