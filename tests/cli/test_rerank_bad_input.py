"""What `mmembed rerank` refuses, in one line."""

from __future__ import annotations

import pytest

from lit_mmembed.retrieval.ranking import from_pairs, write_ranking
from tests.encoders.initial_folders import checkpoint
from tests.tiny import mmembed


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return checkpoint("llava_next", tmp_path_factory.mktemp("llava"), seed=2)


@pytest.fixture
def run(tmp_path):
    write_ranking(tmp_path / "run.parquet", from_pairs(["9:2014", "9:2014"], ["9:1", "9:2"], [2.0, 1.0]))
    return tmp_path / "run.parquet"


def refused(tiny, run, *flags):
    out = run.with_name("out.parquet")
    ran = mmembed("rerank", "--run", run, "--data", tiny.data, "--out", out, *flags)
    assert ran.status == 2 and not out.exists(), ran
    assert ran.err.count("\n") == 1 and "(fix: " in ran.err
    return ran.err


def test_flags_that_contradict_each_other(tiny, run, tmp_path):
    assert "needs --model, --oracle or --answers" in refused(tiny, run)
    assert "needs --model, --oracle or --answers" in refused(tiny, run, "--oracle", "--model", "x")
    two = refused(tiny, run, "--oracle", "--fusion-weight", "0.5", "--choose-weight", tmp_path / "w.json")
    assert "two ways to set the weight" in two
    assert "not between 0 and 1" in refused(tiny, run, "--oracle", "--fusion-weight", "1.5")
    assert "is no number of documents" in refused(tiny, run, "--oracle", "--k", "0")


def test_a_document_twice_and_ids_of_other_data(tiny, run, tmp_path):
    twice = tmp_path / "twice.trec"
    twice.write_text("9:2014 Q0 9:1 1 2.0 x\n9:2014 Q0 9:1 2 1.0 x\n")
    assert "twice.trec: line 2: document 9:1 stands twice for query 9:2014" in refused(tiny, twice, "--oracle")
    for qid, did, missing in (("9:77777", "9:1", "9:77777"), ("9:2014", "9:88888", "9:88888")):
        write_ranking(run, from_pairs([qid], [did], [1.0]))
        assert f"run.parquet: {missing}: is not in" in refused(tiny, run, "--oracle")


def test_models_that_can_not_answer(tiny, run, tmp_path, llava):
    assert "has no chat template" in refused(tiny, run, "--model", llava, "--template", "checkpoint")
    assert "is longer than 5" in refused(tiny, run, "--model", llava, "--max-tokens", 5)
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "encoder.json").write_text("{}")
    assert "is a retriever's model folder" in refused(tiny, run, "--model", tmp_path / "encoder")
    assert "does not exist" in refused(tiny, run, "--model", tmp_path / "nowhere")


def test_a_file_that_is_no_chosen_weight(tiny, run, tmp_path):
    (tmp_path / "weight.json").write_text('{"weight": 1}')
    assert "is not a chosen weight" in refused(tiny, run, "--oracle", "--fusion", tmp_path / "weight.json")


def test_a_ranking_that_is_not_there(tiny, run, tmp_path):
    assert "nothing.parquet: does not exist" in refused(tiny, tmp_path / "nothing.parquet", "--oracle")
    assert "nothing.parquet: does not exist" in refused(tiny, tmp_path / "nothing.parquet", "--answers", run)
    (tmp_path / "evaluated").mkdir()
    assert "holds no run.parquet (fix: name a folder" in refused(tiny, tmp_path / "evaluated", "--oracle")
    run.rename(tmp_path / "evaluated" / "run_local.parquet")
    assert "holds no run.parquet (fix: --pool local)" in refused(tiny, tmp_path / "evaluated", "--oracle")


def test_a_weight_chosen_where_nothing_is_labelled(tiny, run, tmp_path):
    weight = tmp_path / "weight.json"
    told = refused(tiny, run, "--oracle", "--choose-weight", weight)
    assert "run.parquet: of the documents that are asked about none is labelled as an answer" in told
    assert {path.name for path in tmp_path.iterdir()} == {"run.parquet"}  # no model was asked
