"""Skipping a damaged sample: nothing names it afterwards, and nothing else is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lit_mmembed.data.building import BadSample
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.verify import verify
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample
from tests.data.sources.texts import forms
from tests.data.test_directory import build
from tests.data.test_shards import picture
from tests.tiny import done, json_lines

TASK, QUERIES, DOCUMENTS = "atlas_task1", "queries/train", "candidates/train"


def query(qid: str, *positives: str, negatives: tuple[str, ...] = (), image: bytes | None = None) -> tuple[str, Sample]:
    modality = Modality.TEXT if image is None else Modality.IMAGE_TEXT
    return QUERIES, Sample(qid, "why", image, modality, TASK, positives, negatives, source=f"of {qid}")


def broken(part: str, name: str) -> BadSample:
    return BadSample(part, name, InputError("is broken"))


def skipping(tmp_path: Path, *items: object, qrels: list[tuple[str, str]], **changes: object) -> DataDirectory:
    judged = {"train": [(qid, did, 1, 1) for qid, did in qrels]}
    directory = DataDirectory(build(tmp_path / "d", items, qrels=judged, on_bad_sample="skip", **changes))
    assert verify(directory.path) == []
    return directory


def judged(directory: DataDirectory) -> list[tuple[str, str]]:
    lines = directory.qrels_path("train").read_text().splitlines()
    return [(line.split()[0], line.split()[2]) for line in lines]


def test_a_query_of_the_same_id_as_a_skipped_document_keeps_its_qrels(tmp_path):
    documents = [broken(DOCUMENTS, "21:1"), (DOCUMENTS, Sample("21:2", "x"))]
    directory = skipping(tmp_path, *documents, query("21:1", "21:2"), qrels=[("21:1", "21:2")])
    assert judged(directory) == [("21:1", "21:2")]


def test_a_document_of_the_same_id_as_a_skipped_query_keeps_its_qrels(tmp_path):
    items = [broken(QUERIES, "21:2"), (DOCUMENTS, Sample("21:2", "x")), query("21:1", "21:2")]
    directory = skipping(tmp_path, *items, qrels=[("21:1", "21:2"), ("21:2", "21:2")])
    assert judged(directory) == [("21:1", "21:2")]


@pytest.mark.parametrize("order", [1, -1])
def test_skipped_documents_are_no_positives_and_no_negatives_any_more(tmp_path, order):
    documents = [broken(DOCUMENTS, "21:8"), (DOCUMENTS, Sample("21:5", "x")), (DOCUMENTS, Sample("21:6", "y"))]
    queries = [
        query("21:1", "21:8", "21:5", negatives=("21:6", "21:8"), image=picture()),
        query("21:2", "21:8"),
        query("21:3", "21:6"),
    ]
    qrels = [("21:1", "21:8"), ("21:1", "21:5"), ("21:2", "21:8"), ("21:3", "21:6")]
    items = [*documents, *queries][::order]
    directory = skipping(tmp_path, *items, qrels=qrels, repeats={"train": {"21:2": 2, "21:1": 3}})
    found = {sample.id: sample for sample in directory.queries("train")}
    assert found.keys() == {"21:1", "21:3"}, "one without another positive is skipped too"
    assert (found["21:1"].positives, found["21:1"].negatives) == (("21:5",), ("21:6",))
    assert found["21:1"].image == picture() and found["21:1"].source == "of 21:1"
    assert found["21:3"] == queries[2][1]
    assert judged(directory) == [("21:1", "21:5"), ("21:3", "21:6")]
    assert dict(zip(directory.queries("train").ids, directory.repeats("train").tolist(), strict=True)) == {
        "21:1": 3,
        "21:3": 1,
    }
    listed = [(row["part"], row["id"], row["error"]) for row in json_lines(directory.path / "skipped.jsonl")]
    assert listed[-1][:2] == (QUERIES, "21:2") and "all its positives were skipped" in listed[-1][2]
    assert directory.manifest["skipped"] == len(listed) == 2
    assert directory.manifest["counts"] == {QUERIES: 2, DOCUMENTS: 2}
    assert not list(directory.path.rglob("*.again"))


def test_where_nothing_names_the_skipped_document_queries_are_as_without_it(tmp_path):
    items = [(DOCUMENTS, Sample("21:5", "x")), query("21:1", "21:5")]
    with_it = skipping(tmp_path / "a", broken(DOCUMENTS, "21:8"), *items, qrels=[("21:1", "21:5")])
    without = skipping(tmp_path / "b", *items, qrels=[("21:1", "21:5")])
    assert with_it.hash == without.hash


def test_where_all_documents_are_skipped_no_query_is_left(tmp_path):
    directory = skipping(tmp_path, broken(DOCUMENTS, "21:8"), query("21:1", "21:8"), qrels=[("21:1", "21:8")])
    assert len(directory.queries("train")) == 0 and judged(directory) == []


def test_a_document_that_a_later_row_gives_is_there(tmp_path):
    items = [broken(DOCUMENTS, "21:8"), (DOCUMENTS, Sample("21:8", "x")), query("21:1", "21:8")]
    directory = skipping(tmp_path, *items, qrels=[("21:1", "21:8")])
    assert directory.queries("train")[0].positives == ("21:8",) and judged(directory) == [("21:1", "21:8")]


def test_a_document_that_is_there_twice_is_in_its_local_pool_once(tmp_path):
    twice = [(DOCUMENTS, Sample("21:5", "x"))] * 2
    pools = {"train": {TASK: ["21:5", "21:5"]}}
    directory = skipping(tmp_path, *twice, query("21:1", "21:5"), qrels=[("21:1", "21:5")], pools=pools)
    assert directory.pools("train")[TASK].tolist() == [0]


def test_a_training_query_without_a_positive_is_named(tmp_path):
    items = [(DOCUMENTS, Sample("21:5", "x")), query("21:1", "21:5"), query("21:2")]
    with pytest.raises(InputError, match=r"queries/train: 21:2: has no positive"):
        build(tmp_path / "d", items, qrels={})
    directory = skipping(tmp_path, *items, qrels=[("21:1", "21:5")])
    assert directory.queries("train").ids.tolist() == ["21:1"]


def test_a_beir_folder_with_a_blank_document_is_sharded_trained_on_and_evaluated(tmp_path, tiny):
    root = tmp_path / "beir"
    rows = [{"_id": f"{n}", "title": "", "text": f"Passage {n}." if n else " "} for n in range(6)]
    forms.write_jsonl(root / "corpus.jsonl", rows)
    forms.write_jsonl(root / "queries.jsonl", [{"_id": f"{n}", "text": f"Question {n}?"} for n in range(6)])
    for split in ("train", "test"):
        lines = [f"{n}\t{n}\t1\n" for n in range(6)] + ["2\t0\t1\n"]
        (root / "qrels").mkdir(exist_ok=True)
        (root / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    flags = ("--source", "beir", "--root", root, "--name", "small", "--on-bad-sample", "skip")
    done("shard", *flags, "--out", tmp_path / "data")
    fitted = {"data__path": tmp_path / "data", "data__batch_size": 5, "trainer__max_epochs": 3, "data__prompts": "none"}
    done(*tiny.fit(tmp_path / "run", **fitted, trainer__limit_val_batches=0))
    model = ("--model", tmp_path / "run/model", "--data", tmp_path / "data", "--prompts", "none")
    done("evaluate", *model, "--out", tmp_path / "test")
    assert len(set(pq.read_table(tmp_path / "test/run.parquet")["qid"].to_pylist())) == 5
    listed = [json.loads(line)["id"] for line in (tmp_path / "data/skipped.jsonl").open()]
    assert listed == ["0", "0", "0", "0"]
