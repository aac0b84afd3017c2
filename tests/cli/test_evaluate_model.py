"""Evaluating a model again, elsewhere, or from stores that another machine made."""

from __future__ import annotations

import pytest

from tests.tiny import done, json_lines, mmembed


@pytest.fixture(scope="module")
def evaluated(tiny, tiny_run, tmp_path_factory):
    """The folder of an evaluation of the tiny model."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    done("evaluate", "--model", tiny_run / "model", "--data", tiny.data, "--out", out)
    return out


def test_a_second_evaluation_uses_stores_and_rankings_and_gives_the_same_scores(evaluated, tiny, tiny_run):
    made = {file: file.stat().st_mtime_ns for file in evaluated.rglob("*.parquet")}
    scores = (evaluated / "scores.jsonl").read_bytes()
    done("evaluate", "--model", tiny_run / "model", "--data", tiny.data, "--out", evaluated)
    assert {file: file.stat().st_mtime_ns for file in evaluated.rglob("*.parquet")} == made
    assert (evaluated / "scores.jsonl").read_bytes() == scores


def test_another_depth_is_searched_again(evaluated, tiny, tiny_run):
    before = (evaluated / "run.parquet").read_bytes()
    done("evaluate", "--model", tiny_run / "model", "--data", tiny.data, "--out", evaluated, "--depth", 7)
    assert (evaluated / "run.parquet").read_bytes() != before


def test_stores_of_another_model_are_not_taken_for_this_ones(evaluated, tiny, tmp_path):
    done(*tiny.fit(tmp_path / "other", trainer__max_steps=1, seed_everything=5))
    refused = mmembed("evaluate", "--model", tmp_path / "other/model", "--data", tiny.data, "--out", evaluated)
    assert refused.status == 2
    assert "was made by other weights" in refused.err
    assert str(evaluated / "stores/queries") in refused.err


def test_stores_of_another_prompt_policy_are_not_taken_for_this_ones(evaluated, tiny, tiny_run):
    model = ("--model", tiny_run / "model", "--data", tiny.data)
    refused = mmembed("evaluate", *model, "--out", evaluated, "--prompts", "none")
    assert refused.status == 2
    assert "under the prompt policy first, not none" in refused.err


def test_finished_stores_are_scored_without_a_model(evaluated, tiny, tmp_path):
    done("evaluate", "--stores", evaluated / "stores", "--data", tiny.data, "--out", tmp_path / "out", "--depth", 7)
    done("evaluate", "--stores", evaluated / "stores", "--data", tiny.data, "--out", evaluated, "--depth", 7)
    assert (tmp_path / "out/run.parquet").read_bytes() == (evaluated / "run.parquet").read_bytes()
    assert not (tmp_path / "out/stores").exists()


def test_stores_of_other_data_are_refused(evaluated, tiny, tmp_path):
    done("shard", "--source", "mbeir", "--root", tiny.source, "--tasks", "cirr_task7", "--out", tmp_path / "data")
    refused = mmembed(
        "evaluate", "--stores", evaluated / "stores", "--data", tmp_path / "data", "--out", tmp_path / "o"
    )
    assert refused.status == 2
    assert "was not made from" in refused.err


def test_lower_precision_changes_the_vectors_a_little(evaluated, tiny, tiny_run, tmp_path):
    from lit_mmembed.retrieval.store import Store

    data = tiny.data / "candidates/test"
    done(
        "encode", "--model", tiny_run / "model", "--data", data, "--out", tmp_path / "bf16", "--precision", "bf16-mixed"
    )
    full, low = Store(evaluated / "stores/candidates").vectors, Store(tmp_path / "bf16").vectors
    assert (full != low).any()
    assert abs(full.astype("float32") - low.astype("float32")).max() < 0.05


def test_a_folder_that_is_no_collection_is_refused_in_one_line(tiny_run, tmp_path, monkeypatch):
    (tmp_path / "test").mkdir()
    monkeypatch.chdir(tmp_path)
    refused = mmembed("encode", "--model", tiny_run / "model", "--data", "test", "--out", tmp_path / "store")
    assert refused.status == 2
    assert "no such collection" in refused.err


def test_it_is_searched_as_deep_as_the_largest_cutoff(evaluated, tiny, tmp_path):
    """18 of 72 documents lie in each local pool."""
    stores = ("--stores", evaluated / "stores", "--data", tiny.data, "--k", 5, 60)
    done("evaluate", *stores, "--out", tmp_path / "shallow", "--depth", 5)
    done("evaluate", *stores, "--out", tmp_path / "deep", "--depth", 72)
    values = []
    for name in ("shallow", "deep"):
        lines = json_lines(tmp_path / name / "scores.jsonl")
        values.append({(row["metric"], row["k"], row["task"], row["pool"]): row["value"] for row in lines})
    assert values[0] == values[1]
    found = [sum(v for (name, at, *_), v in values[0].items() if (name, at) == ("recall", k)) for k in (5, 60)]
    assert found[0] < found[1]
