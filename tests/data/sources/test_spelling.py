"""An id with white space and half a character are refused by file and line, or skipped: qrels cannot hold them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.evaluation.qrels import read_qrels
from tests.data.sources import folders, mbeir_folder
from tests.tiny import done, json_lines, mmembed

TEST_POOL = "cand_pool/global/mbeir_union_test_cand_pool.jsonl"
TEST_QUERY = "query/test/mbeir_mscoco_task0_test.jsonl"


def appended(file: Path, record: dict[str, Any]) -> str:
    """Add a line; return its place."""
    with file.open("a") as stream:
        stream.write(json.dumps(record) + "\n")  # half a character stays an escape
    return f"{file}:{len(file.read_text().splitlines())}"


def beir(root: Path, name: str, text: str) -> str:
    return appended(folders.build_beir(root) / "corpus.jsonl", {"_id": name, "text": text})


def jsonl(root: Path, name: str, text: str) -> str:
    return appended(folders.build_jsonl(root) / "candidates.jsonl", {"id": name, "text": text})


def mbeir(root: Path, name: str, text: str) -> str:
    record = mbeir_folder.candidate(f"9:{name}", text=text)
    return appended(mbeir_folder.build(root) / TEST_POOL, record)


def mbeir_query(root: Path, name: str, text: str) -> str:
    record = mbeir_folder.query(f"9:{name}", 0, ["9:3"], text=text)
    return appended(mbeir_folder.build(root) / TEST_QUERY, record)


SOURCES: list[tuple[str, Callable[[Path, str, str], str]]] = [
    ("beir", beir),
    ("jsonl", jsonl),
    ("mbeir", mbeir),
    ("mbeir", mbeir_query),
]
WRONG = [
    ("doc 1", "Fine.", "id '{}doc 1' is empty or has white space in it"),
    ("doc\u00a01", "Fine.", "id '{}doc\\xa01' is empty or has white space in it"),
    ("half\ud83d", "Fine.", "id has half a character (a surrogate)"),
    ("fine", "half \ud83d", "has half a character (a surrogate)"),
]


@pytest.mark.parametrize(("name", "text", "message"), WRONG, ids=["blank", "no-break", "half an id", "half a text"])
@pytest.mark.parametrize(("source", "build"), SOURCES)
def test_it_is_named_by_file_and_line(source, build, name, text, message, tmp_path) -> None:
    place = build(tmp_path / "source", name, text)
    ran = mmembed("shard", "--source", source, "--root", tmp_path / "source", "--out", tmp_path / "out")
    assert (ran.status, ran.err.count("\n")) == (2, 1), ran.err
    assert ran.err.startswith(f"mmembed: error: {place}: ") and "(fix: " in ran.err
    assert message.format("9:" if source == "mbeir" else "") in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("source", "build"), SOURCES)
def test_skipping_goes_on_without_it(source, build, tmp_path) -> None:
    for number, (name, text, _) in enumerate(WRONG):
        root, out = tmp_path / f"source{number}", tmp_path / f"out{number}"
        place = build(root, name, text)
        done("shard", "--source", source, "--root", root, "--out", out, "--on-bad-sample", "skip")
        assert {row["error"].partition(": ")[0] for row in json_lines(out / "skipped.jsonl")} == {place}
        assert len(read_qrels(DataDirectory(out).qrels_path("test")).query)


def test_a_mirrors_id_with_a_blank_is_named_by_file_and_row(tmp_path) -> None:
    root = folders.build_parquet(tmp_path / "cirr")
    file = root / "query-00000-of-00001.parquet"
    rows = pq.read_table(file).to_pylist()
    pq.write_table(pa.Table.from_pylist([rows[0], rows[1] | {"id": "8: 1"}]), file)
    ran = mmembed("shard", "--source", "parquet", "--root", root, "--task", "cirr_task7", "--out", tmp_path / "out")
    assert ran.err.startswith(f"mmembed: error: {file}:2: 8: 1: id '8: 1' is empty or has white space in it"), ran.err


@pytest.mark.parametrize("field", ["positives", "negatives", "source", "image"])
def test_half_a_character_in_another_field_is_named_too(field, tmp_path) -> None:
    root = folders.build_jsonl(tmp_path / "birds")
    record = {"id": "200:9", "text": "Which?", "split": "test", "positives": ["200:1"]}
    place = appended(root / "queries.jsonl", record | {field: "\ud83d"})
    ran = mmembed("shard", "--source", "jsonl", "--root", root, "--out", tmp_path / "out")
    assert ran.err.startswith(f"mmembed: error: {place}: 200:9: {field} has half a character"), ran.err
