"""Texts of a data directory reach the model through mteb as `mmembed encode` takes them, blanks and all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lit_mmembed.data.sharding import shard
from lit_mmembed.encoders.pretrained import save_encoder
from lit_mmembed.retriever import Retriever
from tests.data.birds import FIELDS, write_jsonl
from tests.encoders.small_mllm import llava_e
from tests.evaluation.mteb_world import library, retriever, text_task
from tests.evaluation.test_mteb_model import found
from tests.tiny import done, json_lines

__all__ = ["library"]

DOCUMENTS = {"30:1": " The wren\n", "30:2": "The wren", "30:3": "   ", "30:4": "Robins sing.\t"}
QUERIES = {"30:5": "  Which bird?", "30:6": " "}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("blanks")
    task = dict(zip(FIELDS, ("Blanks", 30, 1, 2, "text", "text"), strict=True))
    (root / "tasks.json").write_text(json.dumps([task]))
    write_jsonl(root, "candidates", [{"id": did, "text": text} for did, text in DOCUMENTS.items()])
    asked = {"positives": ["30:2"], "split": "test"}
    write_jsonl(root, "queries", [{"id": qid, "text": text, **asked} for qid, text in QUERIES.items()])
    return shard(source="jsonl", root=root, out=root / "shards")


def test_outer_blanks_stay_and_a_text_of_blanks_is_one(library, data, tmp_path):
    from lit_mmembed.evaluation.mteb.local import in_memory_tasks  # imports mteb

    plain = Retriever(llava_e(), device="cpu")
    results = found(retriever(plain.encoder, tmp_path, "none"), in_memory_tasks(data)[0])
    scores = plain.encode_queries(list(QUERIES.values())) @ plain.encode_candidates(list(DOCUMENTS.values())).T
    assert abs(scores[0, 0] - scores[0, 1]) > 1e-4  # the model sees blanks
    for qid, row in zip(QUERIES, scores.tolist(), strict=True):
        assert results[qid] == pytest.approx(dict(zip(DOCUMENTS, row, strict=True)), abs=1e-5)


def test_outer_blanks_of_mtebs_own_documents_are_removed_as_mteb_does(library, tmp_path):
    documents = [{"id": did, "text": text} for did, text in DOCUMENTS.items()]
    row = found(retriever(llava_e(), tmp_path, "none"), text_task(documents=documents))["q1"]
    assert row["30:1"] == pytest.approx(row["30:2"], abs=1e-5) and row["30:3"] == 0


def test_both_evaluations_give_the_same_scores(library, data, tmp_path):
    save_encoder(llava_e(), tmp_path / "model")
    source = ("evaluate", "--model", tmp_path / "model", "--data", data, "--prompts", "none")
    done(*source, "--out", tmp_path / "ours")
    done(*source[:-2], "--mteb", "local", "--mteb-prompts", "none", "--out", tmp_path / "mteb")
    ours, theirs = (
        {
            (row["metric"], row["k"]): row["value"]
            for row in json_lines(tmp_path / name)
            if row["task"] == "blanks_task1"
        }
        for name in ("ours/scores.jsonl", "mteb/scores.jsonl")
    )
    compared = ours.keys() & theirs.keys()
    assert {metric for metric, _ in compared} >= {"ndcg", "recall", "hit", "map", "mrr"}
    assert {key: theirs[key] for key in compared} == pytest.approx({key: ours[key] for key in compared}, abs=1e-6)
