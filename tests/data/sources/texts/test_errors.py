"""What is wrong with a set of texts is one line with file, line, query and what to do; skipping lists it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lit_mmembed.data.directory import DataDirectory
from tests.data.sources.texts import forms
from tests.tiny import done, mmembed

GOOD: dict[str, list[Any]] = {
    "tevatron": [
        {"query_id": "1", "query": "Q?", "positive_passages": [{"docid": "a", "text": "A."}]},
        {"query_id": "2", "query": "R?", "positive_passages": [{"docid": "b", "text": "B."}]},
    ],
    "triplets": [["Q?", "A.", "B."], ["R?", "B.", "A."]],
    "nli": [{"premise": "Q?", "hypothesis": text, "label": label} for text, label in (("A.", 0), ("B.", 2))],
    "pairs": [["Q?", "A."], ["R?", "B."]],
}


def tevatron(qid: Any = "3", **fields: Any) -> dict[str, Any]:
    return {"query_id": qid, "query": "S?", "positive_passages": [{"docid": "a", "text": "A."}]} | fields


WRONG = [
    ("tevatron", {"query": "S?"}, "lacks query_id"),
    ("tevatron", tevatron(qid=True), "query_id is neither a string nor a whole number"),
    ("tevatron", tevatron(qid="a b"), "query_id 'a b' is empty or has a blank in it"),
    ("tevatron", {"query_id": "3"}, "lacks query_text"),
    ("tevatron", tevatron(query=7), "query is not a string"),
    ("tevatron", tevatron(query=" "), "query is empty"),
    ("tevatron", tevatron(positive_passages=[]), "3: has no positive"),
    ("tevatron", {"query_id": "3", "query": "S?"}, "3: lacks positive_passages and positive_document_ids"),
    ("tevatron", tevatron(positive_passages={}), "positive_passages is not a list"),
    ("tevatron", tevatron(positive_passages=["a"]), "is not a JSON object"),
    ("tevatron", tevatron(positive_passages=[{"text": "A."}]), "lacks docid"),
    ("tevatron", tevatron(positive_passages=[{"docid": "z", "text": 1}]), "z: text is not a string"),
    ("tevatron", tevatron(positive_passages=[{"docid": "z"}]), "z: has neither title nor text"),
    ("tevatron", tevatron(query_image="a.jpg"), "has query_image"),
    ("tevatron", tevatron(negative_passages=[{"docid": "a", "text": "A."}]), "100:3: passage a is positive and negat"),
    ("tevatron", tevatron(qid="1", query="Other?"), "100:1: has another text than in an earlier row"),
    ("tevatron", tevatron(positive_passages=[{"docid": "a", "text": "Z."}]), "100:a: duplicate id (fix: it had anot"),
    ("tevatron", {"query_id": "3", "query": "S?", "positive_document_ids": ["a", "q"]}, "100:3: passage q is not amon"),
    ("tevatron", tevatron(negative_document_ids=["q"]), "100:3: passage q is not among the documents"),
    ("triplets", {"anchor": "S?"}, "has no positive (fix: give it positive or pos, or"),
    ("triplets", {"positive": "A."}, "lacks anchor or query"),
    ("triplets", {"query": "S?", "pos": [1]}, "pos is not a string"),
    ("triplets", {"query": "S?", "pos": 1}, "pos is neither a string nor a list"),
    ("triplets", {"query": "S?", "pos": "A.", "neg": [""]}, "neg is empty"),
    ("triplets", {"query": "S\ud800", "pos": "A."}, "query has half a character"),
    ("triplets", ["S?"], "is a list of 1"),
    ("triplets", "S?", "is not a JSON object"),
    ("triplets", ["S?", "A.", "A."], '"S?": passage "A." is positive and negative at once'),
    ("triplets", ["Q?", "B.", "C."], '"Q?": passage "B." is positive and negative at once'),
    ("nli", {"premise": "S?", "hypothesis": "A."}, "lacks gold_label or label"),
    ("nli", {"premise": "S?", "label": 0}, "lacks hypothesis or sentence2"),
    ("nli", {"premise": "S?", "hypothesis": "A.", "label": "maybe"}, "label 'maybe' is unknown"),
    ("nli", {"premise": "Q?", "hypothesis": "A.", "label": "contradiction"}, '"Q?": passage "A." is positive and neg'),
    ("pairs", {"question": "S?"}, "has no pair of columns that is known"),
    ("pairs", {"question": "S?", "answer": None}, "lacks answer"),
    ("pairs", ["S?", "A.", "B."], "is a list of 3"),
]


@pytest.mark.parametrize(("source", "row", "message"), WRONG)
def test_a_wrong_row_is_named_by_file_line_and_query(source: str, row: Any, message: str, tmp_path: Path) -> None:
    file = forms.write_jsonl(tmp_path / "train.jsonl", [*GOOD[source], row])
    ran = mmembed("shard", "--source", source, "--root", file, "--out", tmp_path / "out")
    assert ran.status == 2
    assert ran.err.startswith(f"mmembed: error: {file}:3: {message}")
    assert ran.err.count("\n") == 1 and "(fix: " in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_skipping_lists_the_damaged_and_keeps_the_others(tmp_path: Path) -> None:
    rows = [["Q?", "A.", "B."], ["S?", "A.", "A."], ["R?", "B."], {"query": ""}, ["Q?", "C."], ["T?", "C.", "D."]]
    rows += [["T?", "D."]]
    file = forms.write_jsonl(tmp_path / "train.jsonl", rows)
    with file.open("a") as stream:
        stream.write("{broken\n")
    out = tmp_path / "out"
    ran = done("shard", "--source", "triplets", "--root", file, "--out", out, "--on-bad-sample", "skip")
    assert f"skipped 4 damaged samples: {out / 'skipped.jsonl'}" in ran.out
    listed = [json.loads(line)["error"].partition(" (fix")[0] for line in (out / "skipped.jsonl").open()]
    assert [line.removeprefix(f"{file}:").partition(" JSON: ")[0] for line in listed] == [
        '2: "S?": passage "A." is positive and negative at once',
        "4: query is empty",
        '7: "T?": passage "D." is positive and negative at once',
        "8: is not",
    ]
    assert forms.said_by(DataDirectory(out)) == {"Q?": ({"A.", "C."}, {"B."}), "R?": ({"B."}, set())}
    assert len(DataDirectory(out).qrels_path("train").read_text().splitlines()) == 3


FILES = [
    ("rows.txt", b"x", "rows.txt: is of an unknown form"),
    ("rows.json", b'{"a": 1}', "rows.json: is neither a list of rows nor SQuAD's"),
    ("rows.json", b'{"data": [{"paragraphs": [{}]}]}', "rows.json:1: question 1: is not SQuAD's data/paragraphs/qas"),
    (
        "rows.json",
        b'["Q?", "A."]\n["R?", "B."]',
        "rows.json: is not JSON: Extra data: line 2 column 1 (char 13) (fix: ",
    ),
    ("rows.csv", b"question\nQ?\n", "rows.csv:1: has the header ['question']"),
    ("rows.csv", b"question,answer\nQ?,A.,B.\n", "rows.csv:2: has 3 cells, the header has 2"),
    (
        "rows.csv",
        b'question,answer\nQ?,A.\nR?,"B.\nS?,C.\nT?,D.\n',
        "rows.csv:3: cannot be read: unexpected end of data",
    ),
    ("rows.csv", b'question,answer\nQ?,A.\nR?,"B." C\n', "rows.csv:3: cannot be read: ',' expected after"),
    ("rows.csv", b"question,answer\nQ\xe4?,A.\n", "rows.csv: cannot be read: 'utf-8' codec"),
    ("rows.jsonl.gz", b"no archive", "rows.jsonl.gz: cannot be read: Not a gzipped file"),
    (
        "rows.jsonl.gz",
        gzip.compress(b'["Q?", "A."]\n' * 99, mtime=0)[:30],
        "rows.jsonl.gz: cannot be read: Compressed file ended",
    ),
    ("rows.parquet", b"no table", "rows.parquet: is not a readable Parquet file"),
    ("rows.jsonl", b"", "rows.jsonl: holds no query with a positive"),
]


@pytest.mark.parametrize(("name", "content", "message"), FILES)
def test_a_file_that_cannot_be_read_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    ran = mmembed("shard", "--source", "pairs", "--root", tmp_path / name, "--out", tmp_path / "out")
    assert (ran.status, ran.err.count("\n")) == (2, 1), ran.err
    assert f"{tmp_path}/{message}" in ran.err


FLAGS = [
    (("--columns", "query"), "--columns query is no NAME=VALUE"),
    (("--columns", "premise=a"), "triplets has no column for premise"),
    (("--held-out", "val=much"), "--held-out val=much is no share"),
    (("--held-out", "val=1.5"), "share 1.5 of val is out of range"),
    (("--held-out", "train=0.5"), "nothing can be held out for 'train'"),
    (("--held-out", "val=0.5", "test=0.5"), "all is held out"),
    (("--corpus", "x.jsonl"), "triplets has no corpus"),
    (("--name", "two words"), "'two words' is no name of a data set"),
    (("--instruction", *"abcde"), "has 5 instructions"),
    (("--instruction", "a\tb"), "has a tab or a line break"),
    (("--splits", "val"), "has no queries for val"),
    (("--tasks", "cirr_task7"), "source 'triplets': "),
]


@pytest.mark.parametrize(("flags", "message"), FLAGS)
def test_a_wrong_flag_is_named(flags: tuple[str, ...], message: str, tmp_path: Path) -> None:
    file = forms.write_jsonl(tmp_path / "train.jsonl", GOOD["triplets"])
    ran = mmembed("shard", "--source", "triplets", "--root", file, "--out", tmp_path / "out", *flags)
    assert (ran.status, ran.err.count("\n")) == (2, 1), ran.err
    assert message in ran.err and "(fix: " in ran.err
