"""A folder in M-BEIR's published layout goes through the real-M-BEIR experiment files, only the encoder swapped."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from lit_mmembed.data.sources.emoji_beir.export import export_mbeir_layout
from lit_mmembed.encoders.tokenizer import train_tokenizer
from lit_mmembed.evaluation.scores import read_scores
from tests.tiny import ROOT, SMALL_CLIP, done

MACHINE = {
    "data": {"batch_size": 16, "validation_queries": 2, "workers": 0, "encode_rows": 256},
    "trainer": {"accelerator": "cpu", "devices": 1, "precision": "32-true", "max_epochs": None, "max_steps": 2},
}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, request) -> Path:
    """The published layout with its image archive in parts, and the run of the M-BEIR recipe over it."""
    folder = tmp_path_factory.mktemp("mbeir")
    export_mbeir_layout(ROOT / "data_shards/emoji_beir", folder / "M-BEIR")
    train_tokenizer(["a flag", "an emoji of a cat", "the capital of"], folder / "tokenizer.json", vocab_size=400)
    (folder / "towers.json").write_text(json.dumps(SMALL_CLIP))
    encoder = yaml.safe_load((ROOT / "experiments/encoders/clip_sf_tiny.yaml").read_text())
    backbone = encoder["model"]["encoder"]["init_args"]["backbone"]["init_args"]
    backbone |= {"config": str(folder / "towers.json"), "tokenizer": str(folder / "tokenizer.json")}
    (folder / "encoder.yaml").write_text(yaml.safe_dump(encoder))
    (folder / "machine.yaml").write_text(yaml.safe_dump(MACHINE))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        changes = [f"vars.root={folder / 'M-BEIR'}", f"vars.encoder={folder / 'encoder.yaml'}"]
        changes += [f"vars.overrides={folder / 'machine.yaml'}"]
        done("run", "experiments/mbeir/clip_sf.yaml", "--out", folder / "runs", "--set", *changes)
    return folder / "runs/mbeir_clip_sf"


def test_the_recipe_ends_with_scores_of_every_task_and_a_report(run_folder):
    stages = run_folder / "seed0/with_instructions"
    for model in ("rand", "hard"):
        scores = read_scores(stages / f"evaluate_{model}/scores.jsonl")
        tasks = {score.task for score in scores if not score.task.startswith("avg_")}
        assert len(tasks) == 8
        assert {score.pool for score in scores} == {"global", "local"}
        assert scores[0].record["training"]["steps"] == 2
    assert (run_folder / "shared/report/index.html").exists()


def test_the_stages_by_hand_find_the_negatives_that_the_callback_found(run_folder, tmp_path):
    rand, shards = run_folder / "seed0/with_instructions/rand", run_folder / "shared/data/shards"
    done("encode", "--model", rand / "model", "--data", shards, "--split", "train", "--out", tmp_path / "stores")
    stores = [tmp_path / "stores/queries", tmp_path / "stores/candidates"]
    done("search", "--queries", stores[0], "--candidates", stores[1], "--out", tmp_path / "run.trec")
    published = run_folder.parents[1] / "M-BEIR"
    queries = published / "query/union_train/mbeir_union_up_train.jsonl"
    candidates = published / "cand_pool/global/mbeir_union_train_cand_pool.jsonl"
    out = tmp_path / "negatives.parquet"
    done("mine", "--run", tmp_path / "run.trec", "--queries", queries, "--candidates", candidates, "--out", out)
    by_hand, by_callback = (pq.read_table(file).to_pylist() for file in (out, rand / "negatives.parquet"))
    assert len(by_hand) > 10_000
    assert by_hand == by_callback
