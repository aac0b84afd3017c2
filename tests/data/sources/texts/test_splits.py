"""Which split a row belongs to: by file name, by the user's word, or by a hash of the query's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.sharding import shard
from lit_mmembed.data.sources.texts.files import find_files
from lit_mmembed.errors import InputError
from tests.data.sources.texts import forms


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("snli_1.0_dev.jsonl", "val"),
        ("multinli_1.0_dev_matched.jsonl", "val"),
        ("data/validation-00000-of-00001.parquet", "val"),
        ("Test.tsv", "test"),
        ("train/part-3.jsonl.gz", "train"),
        ("contest.jsonl", None),
    ],
)
def test_the_name_of_a_file_says_its_split(name: str, split: str | None, tmp_path: Path) -> None:
    forms.write_jsonl(tmp_path / name, [])
    [file] = find_files(tmp_path)
    assert (file.path, file.split) == (tmp_path / name, split)


def test_hidden_files_and_other_forms_are_passed_over(tmp_path: Path) -> None:
    for name in ("._train.jsonl", "__MACOSX/train.jsonl", "readme.md", "train.txt"):
        forms.write_jsonl(tmp_path / name, [])
    with pytest.raises(InputError, match="has no file with rows in it"):
        find_files(tmp_path)


def test_each_split_has_its_queries_and_the_documents_of_all(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for split, rows in (("train", [["Q?", "A."], ["R?", "B."]]), ("dev", [["Q?", "C."], [" r?", "D."]])):
        forms.write_jsonl(tmp_path / f"in/{split}.jsonl", rows)
    directory = DataDirectory(shard(source="pairs", root=tmp_path / "in", out=tmp_path / "out"))
    assert forms.said_by(directory, "train") == {"Q?": ({"A."}, set()), "R?": ({"B."}, set())}
    assert forms.said_by(directory, "val") == {"Q?": ({"C."}, set()), "r?": ({"D."}, set())}
    assert all(len(directory.candidates(split)) == 4 for split in ("train", "val"))
    assert caplog.messages == [f"{tmp_path / 'in'}: 2 queries of val stand in an earlier split too"]
    only = DataDirectory(shard(source="pairs", root=tmp_path / "in", out=tmp_path / "val", splits=["val"]))
    assert only.manifest["counts"] == {"candidates/val": 4, "queries/val": 2}


def test_the_user_may_name_the_files_of_each_split(tmp_path: Path) -> None:
    for name, row in (("a", ["Q?", "A."]), ("b", ["R?", "B."]), ("c", ["S?", "C."])):
        forms.write_jsonl(tmp_path / f"in/{name}.jsonl", [row])
    files = {"train": ["a.jsonl"], "test": ["c.jsonl"]}
    directory = DataDirectory(shard(source="pairs", root=tmp_path / "in", out=tmp_path / "out", files=files))
    assert directory.manifest["counts"]["candidates/test"] == 2
    assert forms.said_by(directory, "test") == {"S?": ({"C."}, set())}


def test_held_out_queries_are_in_one_split_whatever_their_ids_case_and_blanks(tmp_path: Path) -> None:
    passages = [{"docid": "a", "text": "A."}]
    rows = []
    for number in range(1500):
        text = f"Question number {number // 3}"
        spelled = (text, text.upper(), text.replace(" ", "  "))[number % 3]
        rows.append({"query_id": number, "query": spelled, "positive_passages": passages})
    root = forms.write_jsonl(tmp_path / "rows.jsonl", rows)
    shares = {"val": 0.2, "test": 0.1}
    directory = DataDirectory(shard(source="tevatron", root=root, out=tmp_path / "out", held_out=shares))
    asked = {
        split: {" ".join(str(query.text).lower().split()) for query in directory.queries(split)}
        for split in ("train", "val", "test")
    }
    assert sum(map(len, asked.values())) == 500 == len(set().union(*asked.values()))
    assert sum(len(directory.queries(split)) for split in asked) == 1500
    assert 70 < len(asked["val"]) < 130 and 30 < len(asked["test"]) < 70


def test_a_query_stays_in_its_split_when_others_come(tmp_path: Path) -> None:
    found = []
    for size in (100, 200):
        root = forms.write_jsonl(tmp_path / f"{size}.jsonl", [[f"Q {number}?", "A."] for number in range(size)])
        out = shard(source="pairs", root=root, out=tmp_path / f"{size}", held_out={"val": 0.3}, name="Set")
        found.append({query.text for query in DataDirectory(out).queries("val")})
    assert found[0] < found[1]


def test_only_training_queries_are_held_out(tmp_path: Path) -> None:
    for split in ("train", "test"):
        forms.write_jsonl(tmp_path / f"in/{split}.jsonl", [[f"{split} {number}?", "A."] for number in range(40)])
    directory = DataDirectory(shard(source="pairs", root=tmp_path / "in", out=tmp_path / "out", held_out={"val": 0.5}))
    assert all(str(query.text).startswith("train") for query in directory.queries("val"))
    assert len(directory.queries("test")) == 40


def test_holding_out_what_has_a_file_of_its_own_is_refused(tmp_path: Path) -> None:
    for split in ("train", "val"):
        forms.write_jsonl(tmp_path / f"in/{split}.jsonl", [["Q?", "A."]])
    with pytest.raises(InputError, match="has files of val, and held_out makes it too"):
        shard(source="pairs", root=tmp_path / "in", out=tmp_path / "out", held_out={"val": 0.5})
