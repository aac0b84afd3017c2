"""FashionIQ by its own protocol: each category's own gallery, their mean, a zip of three files."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from tests.evaluation.composed_world import about, found, recall, shard, shuffled, without_reference, write_run
from tests.tiny import done, mmembed

TASKS = [f"fashioniq-{category}_task7" for category in ("dress", "shirt", "toptee")]
KEEP, DROP = "keep_reference", "drop_reference"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shard("fashioniq", tmp_path_factory.mktemp("fashioniq"))


def evaluate(data, run, out, *flags):
    return mmembed("evaluate", "--protocol", "fashioniq", "--data", data, "--run", run, "--out", out, *flags)


def moved(data, ranks):
    """Rankings whose target stands at these ranks, the reference last."""
    rankings = {}
    for (qid, dids), rank in zip(shuffled(data).items(), ranks, strict=True):
        query = about(data)[qid]
        others = [did for did in dids if did not in (query["target"], query["reference"])]
        rankings[qid] = [*others[: rank - 1], query["target"], *others[rank - 1 :], query["reference"]]
    return rankings


def test_a_ranking_scores_what_it_scores_by_hand(data, tmp_path):
    run = write_run(tmp_path / "run.parquet", moved(data, [10, 11, 50, 51, 1, 2]))
    assert evaluate(data, run, tmp_path).status == 0
    scores = found(tmp_path / "scores.jsonl")
    assert [scores[task, KEEP, "target_recall", 10] for task in TASKS] == [0.5, 0, 1]
    assert [scores[task, KEEP, "target_recall", 50] for task in TASKS] == [1, 0.5, 1]
    assert scores["avg_all", KEEP, "target_recall", 10] == pytest.approx(1.5 / 3)
    assert scores["avg_all", KEEP, "target_recall", 50] == pytest.approx(2.5 / 3)
    assert scores["avg_all", KEEP, "fashioniq_average", 0] == pytest.approx(4 / 6)


def test_every_measure_equals_a_loop_over_random_rankings(data, tmp_path):
    rankings, queries = shuffled(data, seed=7), about(data)
    assert evaluate(data, write_run(tmp_path / "run.parquet", rankings), tmp_path).status == 0
    scores = found(tmp_path / "scores.jsonl")
    for pool, lists in {KEEP: rankings, DROP: without_reference(rankings, queries)}.items():
        for k in (10, 50):
            of_task = {task: {q: dids for q, dids in lists.items() if queries[q]["task"] == task} for task in TASKS}
            values = [recall(of_task[task], queries, k) for task in TASKS]
            assert [scores[task, pool, "target_recall", k] for task in TASKS] == values
            assert scores["avg_all", pool, "target_recall", k] == pytest.approx(np.mean(values))


def test_a_picture_of_another_category_is_refused(data, tmp_path):
    rankings = shuffled(data)
    rankings["93:shirt-val-0"][3] = "92:B000"
    refused = evaluate(data, write_run(tmp_path / "run.parquet", rankings), tmp_path)
    assert refused.status == 2 and "92:B000: is not in the gallery of fashioniq-shirt_task7" in refused.err


def test_a_model_is_searched_in_each_gallery_and_submitted_as_a_zip(data, tiny_run, tmp_path):
    flags = ("evaluate", "--protocol", "fashioniq", "--data", data, "--model", tiny_run / "model")
    done(*flags, "--out", tmp_path / "val", "--submission", tmp_path / "val.zip")
    with zipfile.ZipFile(tmp_path / "val.zip") as archive:
        assert archive.namelist() == ["dress.predict.json", "shirt.predict.json", "toptee.predict.json"]
        rows = json.loads(archive.read("shirt.predict.json"))
    assert [row["candidate"] for row in rows] == ["B050", "B051"]
    assert rows[0]["captions"] == ["Is shorter.", "has 1 sleeves"]
    assert all(len(set(row["ranking"])) == 50 for row in rows)
    assert all(50 <= int(asin[1:]) < 105 for row in rows for asin in row["ranking"])
    assert evaluate(data, tmp_path / "val.zip", tmp_path / "again").status == 0
    kept = [
        {key: value for key, value in found(tmp_path / name / "scores.jsonl").items() if key[1] == KEEP}
        for name in ("val", "again")
    ]
    assert kept[0] == kept[1]
    done(*flags, "--split", "test", "--out", tmp_path / "test", "--submission", tmp_path / "test.zip")
    assert (tmp_path / "test.zip").exists() and not (tmp_path / "test/scores.jsonl").exists()


def rewritten(path, change):
    with zipfile.ZipFile(path) as archive:
        files = {name: json.loads(archive.read(name)) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, rows in files.items():
            archive.writestr(name, json.dumps(rows))


BROKEN = {
    "holds dress.predict.json, toptee.predict.json": lambda files: files.pop("shirt.predict.json"),
    "has 1 queries instead of 2": lambda files: files["shirt.predict.json"].pop(),
    "candidate is not B050": lambda files: files["shirt.predict.json"].reverse(),
    "has 49 pictures instead of 50": lambda files: files["dress.predict.json"][0]["ranking"].pop(),
    "is no list of names": lambda files: files["dress.predict.json"][0].pop("ranking"),
}


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_submission_is_refused(data, tmp_path, problem):
    run, file = write_run(tmp_path / "run.parquet", shuffled(data)), tmp_path / "val.zip"
    assert evaluate(data, run, tmp_path, "--submission", file).status == 0
    rewritten(file, BROKEN[problem])
    refused = evaluate(data, file, tmp_path)
    assert refused.status == 2 and problem in refused.err


def test_a_submission_of_the_wrong_kind_of_file_is_refused(data, tmp_path):
    run = write_run(tmp_path / "run.parquet", shuffled(data))
    refused = evaluate(data, run, tmp_path, "--submission", tmp_path / "val.json")
    assert refused.status == 2 and "does not end with .zip" in refused.err
