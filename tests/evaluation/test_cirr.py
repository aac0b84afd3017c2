"""CIRR by its own protocol: the gallery with and without the reference, the subset, two submissions."""

from __future__ import annotations

import json

import pytest

from lit_mmembed.retrieval.store import Store
from tests.evaluation.composed_world import about, found, recall, shard, shuffled, without_reference, write_run
from tests.tiny import done, mmembed

TASK, KEEP, DROP = "cirr-rc2_task7", "keep_reference", "drop_reference"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shard("cirr", tmp_path_factory.mktemp("cirr"))


def evaluate(data, run, out, *flags):
    return mmembed("evaluate", "--protocol", "cirr", "--data", data, "--run", run, "--out", out, *flags)


def name(n):
    return f"91:dev-{n}-0-img0"


def by_hand(data):
    """Of query n: its reference, n members that are no target, the target, the rest."""
    rankings = {}
    for n in range(3):
        first = [name(6 * n), *(name(6 * n + 2 + place) for place in range(n)), name(6 * n + 1)]
        rankings[f"91:{70 + n}"] = [*first, *(did for did in shuffled(data)[f"91:{70 + n}"] if did not in first)]
    return rankings


def test_a_ranking_scores_what_it_scores_by_hand(data, tmp_path):
    assert evaluate(data, write_run(tmp_path / "run.parquet", by_hand(data)), tmp_path).status == 0
    scores = found(tmp_path / "scores.jsonl")
    assert [scores[TASK, KEEP, "target_recall", k] for k in (1, 5, 10, 50)] == [0, 1, 1, 1]
    assert [scores[TASK, DROP, "target_recall", k] for k in (1, 5)] == pytest.approx([1 / 3, 1])
    assert [scores[TASK, "subset", "subset_recall", k] for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert scores[TASK, DROP, "cirr_average", 0] == pytest.approx((1 + 1 / 3) / 2)


def test_every_measure_equals_a_loop_over_random_rankings(data, tmp_path):
    rankings, queries = shuffled(data, seed=5), about(data)
    assert evaluate(data, write_run(tmp_path / "run.parquet", rankings), tmp_path).status == 0
    scores = found(tmp_path / "scores.jsonl")
    for pool, lists in {KEEP: rankings, DROP: without_reference(rankings, queries)}.items():
        for k in (1, 5, 10, 50):
            assert scores[TASK, pool, "target_recall", k] == pytest.approx(recall(lists, queries, k))
    members = {qid: [did for did in dids if did in queries[qid]["members"]] for qid, dids in rankings.items()}
    for k in (1, 2, 3):
        assert scores[TASK, "subset", "subset_recall", k] == pytest.approx(recall(members, queries, k))


def test_a_run_that_does_not_reach_the_subset_has_no_subset_recall_unless_one_is_given(data, tmp_path):
    rankings = by_hand(data)
    run = write_run(tmp_path / "run.parquet", {qid: dids[:4] for qid, dids in rankings.items()})
    assert evaluate(data, run, tmp_path).status == 0
    assert not [key for key in found(tmp_path / "scores.jsonl") if key[2] in ("subset_recall", "cirr_average")]
    subset = {qid: list(query["members"]) for qid, query in about(data).items()}
    second = write_run(tmp_path / "subset.parquet", subset)
    assert evaluate(data, run, tmp_path, "--subset-run", second).status == 0
    assert found(tmp_path / "scores.jsonl")[TASK, "subset", "subset_recall", 1] == 1
    subset["91:71"].pop(2)
    refused = evaluate(data, run, tmp_path, "--subset-run", write_run(second, subset))
    assert refused.status == 2 and f"query 91:71: lacks {name(9)}" in refused.err


def test_both_submissions_are_in_the_published_form(data, tmp_path):
    run, file = write_run(tmp_path / "run.parquet", by_hand(data)), tmp_path / "test.json"
    assert evaluate(data, run, tmp_path, "--submission", file).status == 0
    content, subset = json.loads(file.read_text()), json.loads((tmp_path / "test_subset.json").read_text())
    assert (content.pop("version"), content.pop("metric")) == ("rc2", "recall")
    assert (subset.pop("version"), subset.pop("metric")) == ("rc2", "recall_subset")
    assert sorted(content) == sorted(subset) == ["70", "71", "72"]
    assert all(len(names) == len(set(names)) == 50 for names in content.values())
    assert content["71"][:2] == ["dev-8-0-img0", "dev-7-0-img0"]
    assert subset["71"] == [one for one in content["71"] if 6 < int(one.split("-")[1]) < 12][:3]
    assert evaluate(data, file, tmp_path / "again").status == 0
    again, whole = found(tmp_path / "again/scores.jsonl"), found(tmp_path / "scores.jsonl")
    assert again[TASK, KEEP, "target_recall", 5] == whole[TASK, DROP, "target_recall", 5]


BROKEN = {
    "version is not 'rc2'": lambda content: content.pop("version"),
    "metric is not 'recall'": lambda content: content.update(metric="recall_subset"),
    "query 70: 1 of 3 queries are missing": lambda content: content.pop("70"),
    "query 70: has picture dev-5-0-img0 twice": lambda content: content.update(
        {"70": ["dev-5-0-img0", "dev-5-0-img0", *content["70"][2:]]}
    ),
    "which is not in the gallery": lambda content: content["70"].__setitem__(0, "test1-0-0-img0"),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_submission_is_refused(data, tmp_path, problem):
    run = write_run(tmp_path / "run.parquet", by_hand(data))
    assert evaluate(data, run, tmp_path, "--submission", tmp_path / "test.json").status == 0
    content = json.loads((tmp_path / "test.json").read_text())
    BROKEN[problem](content)
    (tmp_path / "test.json").write_text(json.dumps(content))
    refused = evaluate(data, tmp_path / "test.json", tmp_path)
    assert refused.status == 2 and problem in refused.err


def test_a_model_ranks_each_subset_by_its_embeddings(data, tiny_run, tmp_path):
    flags = ("--protocol", "cirr", "--data", data, "--model", tiny_run / "model", "--out", tmp_path)
    done("evaluate", *flags, "--submission", tmp_path / "val.json")
    queries, gallery = Store(tmp_path / "stores/queries"), Store(tmp_path / "stores/candidates")
    vectors = dict(zip(gallery.ids, gallery.vectors.astype("float32"), strict=True))
    content = json.loads((tmp_path / "val_subset.json").read_text())
    for qid, vector in zip(queries.ids, queries.vectors.astype("float32"), strict=True):
        members = about(data)[qid]["members"]
        order = sorted(members, key=lambda did: (-float(vectors[did] @ vector), did))
        assert [f"91:{one}" for one in content[qid.partition(":")[2]]] == order[:3]
    refused = mmembed("evaluate", *flags, "--split", "test")
    assert refused.status == 2 and "has no published answers" in refused.err
