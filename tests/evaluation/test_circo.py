"""CIRCO by its own protocol: hand-worked, beside a loop, from a model to a submission that a strict reader takes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.evaluation.composed_world import about, found, recall, shard, shuffled, without_reference, write_run
from tests.tiny import done, mmembed

TASK, KEEP, DROP = "circo_task7", "keep_reference", "drop_reference"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shard("circo", tmp_path_factory.mktemp("circo"))


def evaluate(data, run, out, *flags):
    return mmembed("evaluate", "--protocol", "circo", "--data", data, "--run", run, "--out", out, *flags)


def average_precision(dids, answers, k):
    hits = total = 0
    for rank, did in enumerate(dids[:k], start=1):
        if did in answers:
            hits += 1
            total += hits / rank
    return total / min(len(answers), k)


def by_hand(data):
    """The reference first, then the answers of query n from rank n + 2 on, among pictures that answer nothing."""
    rankings = {}
    for n in range(4):
        answers = [f"90:{110 + n + 10 * place}" for place in range(n + 1)]
        others = [did for did in shuffled(data)[f"90:val-{n}"] if did not in {*answers, f"90:{100 + n}"}]
        rankings[f"90:val-{n}"] = [f"90:{100 + n}", *others[:n], *answers, *others[n:]]
    return rankings


def test_a_ranking_scores_what_it_scores_by_hand_with_and_without_the_reference(data, tmp_path):
    run = write_run(tmp_path / "run.parquet", by_hand(data))
    assert evaluate(data, run, tmp_path).status == 0
    scores = found(tmp_path / "scores.jsonl")
    kept = [1 / 2, (1 / 3 + 2 / 4) / 2, (1 / 4 + 2 / 5) / 3, 1 / 5 / 4]
    dropped = [1, (1 / 2 + 2 / 3) / 2, (1 / 3 + 2 / 4 + 3 / 5) / 3, (1 / 4 + 2 / 5) / 4]
    assert scores[TASK, KEEP, "circo_map", 5] == pytest.approx(np.mean(kept))
    assert scores[TASK, DROP, "circo_map", 5] == pytest.approx(np.mean(dropped))
    assert scores[TASK, KEEP, "target_recall", 5] == 1
    ten = (1 / 4 + 2 / 5 + 3 / 6) / 3, (1 / 3 + 2 / 4) / 2
    assert scores[f"{TASK}:negation", KEEP, "semantic_map", 10] == pytest.approx(ten[0])
    assert scores[f"{TASK}:addition", KEEP, "semantic_map", 10] == pytest.approx(np.mean(ten))


def test_every_measure_equals_a_loop_over_random_rankings(data, tmp_path):
    rankings, queries = shuffled(data, seed=3), about(data)
    run = write_run(tmp_path / "run.parquet", rankings)
    assert evaluate(data, run, tmp_path).status == 0
    scores = found(tmp_path / "scores.jsonl")
    for pool, lists in {KEEP: rankings, DROP: without_reference(rankings, queries)}.items():
        for k in (5, 10, 25, 50):
            values = {qid: average_precision(dids, queries[qid]["positives"], k) for qid, dids in lists.items()}
            assert scores[TASK, pool, "circo_map", k] == pytest.approx(np.mean(list(values.values())))
            assert scores[TASK, pool, "target_recall", k] == recall(lists, queries, k)
            if k == 10:
                some = [value for qid, value in values.items() if "addition" in queries[qid]["aspects"]]
                assert scores[f"{TASK}:addition", pool, "semantic_map", k] == pytest.approx(np.mean(some))
    assert len(scores) == 2 * (4 + 4 + 2)


def test_scores_say_what_made_them_and_have_intervals_where_asked(data, tmp_path):
    run = write_run(tmp_path / "run.parquet", shuffled(data))
    assert evaluate(data, run, tmp_path, "--bootstrap", 50).status == 0
    row = json.loads((tmp_path / "scores.jsonl").read_text().splitlines()[0])
    assert row["low"] <= row["value"] <= row["high"]
    assert row["record"]["protocol"] == "circo" and row["record"]["query_text"] == "paper"
    assert {"run_hash", "data_hash", "versions"} <= set(row["record"])


def missing(rankings):
    rankings.pop("90:val-2")


def unknown_picture(rankings):
    rankings["90:val-2"][7] = "90:999"


def unknown_query(rankings):
    rankings["90:test-0"] = rankings["90:val-0"]


@pytest.mark.parametrize(
    ("break_it", "problem"),
    [
        (missing, "query 90:val-2: 1 of 4 queries are missing"),
        (unknown_picture, "90:999: is not in the gallery of circo_task7"),
        (unknown_query, "90:test-0: is no query of this split"),
    ],
)
def test_a_run_that_is_not_of_the_split_is_refused(data, tmp_path, break_it, problem):
    rankings = shuffled(data)
    break_it(rankings)
    refused = evaluate(data, write_run(tmp_path / "run.parquet", rankings), tmp_path)
    assert refused.status == 2 and problem in refused.err
    assert not (tmp_path / "scores.jsonl").exists()


def test_a_submission_holds_the_best_fifty_and_scores_as_its_run(data, tmp_path):
    run = write_run(tmp_path / "run.parquet", shuffled(data))
    file = tmp_path / "submission.json"
    assert evaluate(data, run, tmp_path, "--submission", file).status == 0
    content = json.loads(file.read_text())
    assert list(content) == ["0", "1", "2", "3"]
    assert content["1"] == [int(did.partition(":")[2]) for did in shuffled(data)["90:val-1"][:50]]
    assert evaluate(data, file, tmp_path / "again").status == 0
    whole, again = found(tmp_path / "scores.jsonl"), found(tmp_path / "again/scores.jsonl")
    assert {key: value for key, value in whole.items() if key[1] == KEEP} == {
        key: value for key, value in again.items() if key[1] == KEEP
    }
    assert evaluate(data, run, tmp_path, "--submission", file, "--reference", "drop").status == 0
    assert all(100 + int(n) not in numbers for n, numbers in json.loads(file.read_text()).items())


BROKEN = {
    "query 2: 1 of 4 queries are missing": lambda content: content.pop("2"),
    "7: is no query of this split": lambda content: content.update({"7": content["0"]}),
    "query 1: has picture 142 twice": lambda content: content.update({"1": [142, 142, *content["1"][2:]]}),
    "query 1: has 49 pictures instead of 50": lambda content: content["1"].pop(),
    "query 1: has picture 5, which is not in the gallery": lambda content: content["1"].__setitem__(3, 5),
    "query 1: is no list of numbers": lambda content: content["1"].__setitem__(3, "110"),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_submission_is_refused_with_its_query(data, tmp_path, problem):
    run = write_run(tmp_path / "run.parquet", shuffled(data))
    assert evaluate(data, run, tmp_path, "--submission", tmp_path / "submission.json").status == 0
    content = json.loads((tmp_path / "submission.json").read_text())
    BROKEN[problem](content)
    (tmp_path / "submission.json").write_text(json.dumps(content))
    refused = evaluate(data, tmp_path / "submission.json", tmp_path)
    assert refused.status == 2 and problem in refused.err


def test_a_query_that_stands_twice_in_a_submission_is_seen(data, tmp_path):
    (tmp_path / "submission.json").write_text('{"0": [], "0": []}')
    refused = evaluate(data, tmp_path / "submission.json", tmp_path)
    assert refused.status == 2 and "query 0: stands twice" in refused.err


def test_a_run_that_is_not_deep_enough_is_no_submission(data, tmp_path):
    shallow = {qid: dids[:10] for qid, dids in shuffled(data).items()}
    run = write_run(tmp_path / "run.parquet", shallow)
    assert evaluate(data, run, tmp_path).status == 0
    refused = evaluate(data, run, tmp_path, "--submission", tmp_path / "submission.json")
    assert refused.status == 2 and "has 10 documents, 50 are wanted" in refused.err
    assert not (tmp_path / "submission.json").exists()


def test_a_model_is_embedded_searched_scored_and_submitted_on_both_splits(data, tiny_run, tmp_path):
    flags = ("evaluate", "--protocol", "circo", "--model", tiny_run / "model", "--data", data)
    ran = done(*flags, "--out", tmp_path / "val", "--submission", tmp_path / "val.json")
    assert "circo_map@5" in ran.out and "reference picture kept" in ran.out
    assert found(tmp_path / "val/scores.jsonl")[TASK, KEEP, "target_recall", 50] <= 1
    reranked = done(
        "evaluate", "--protocol", "circo", "--run", tmp_path / "val/run.parquet", "--data", data, "--out", tmp_path
    )
    assert "circo_map@5" in reranked.out
    assert found(tmp_path / "scores.jsonl") == found(tmp_path / "val/scores.jsonl")
    refused = mmembed(*flags, "--split", "test", "--out", tmp_path / "test")
    assert refused.status == 2 and "has no published answers" in refused.err
    done(*flags, "--split", "test", "--out", tmp_path / "test", "--submission", tmp_path / "test.json")
    assert sorted(json.loads((tmp_path / "test.json").read_text())) == ["0", "1", "2", "3"]
    assert not (tmp_path / "test/scores.jsonl").exists()


def test_data_of_another_source_is_refused(data, tmp_path):
    refused = mmembed("evaluate", "--protocol", "cirr", "--data", data, "--run", tmp_path / "r", "--out", tmp_path)
    assert refused.status == 2 and "was made from circo, not from cirr" in refused.err


def test_known_values_are_checked_after_a_protocol(data, tmp_path):
    run = write_run(tmp_path / "run.parquet", by_hand(data))
    row = f"task: {TASK}, pool: {KEEP}, metric: circo_map, k: 5, tolerance: 0.001"
    (tmp_path / "known.yaml").write_text(f"rows:\n  - {{{row}, value: 0.5}}\n")
    ran = evaluate(data, run, tmp_path, "--expect", tmp_path / "known.yaml")
    assert ran.status == 1 and "1 off" in ran.out
