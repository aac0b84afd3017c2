"""Anybody's own texts and images: the documented example works, and mistakes are named."""

import json
from pathlib import Path

import pytest

from lit_mmembed.data.building import BadSample
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.sharding import shard
from lit_mmembed.data.sources.jsonl import JsonlSource
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample
from tests.data.sources.folders import build_jsonl
from tests.data.sources.mbeir_folder import picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return build_jsonl(tmp_path / "birds")


def append(path: Path, **record: object) -> None:
    with path.open("a") as stream:
        stream.write(json.dumps(record) + "\n")


def test_the_documented_example_becomes_a_data_directory(root: Path, tmp_path: Path) -> None:
    directory = DataDirectory(shard(source="jsonl", root=root, out=tmp_path / "out"))
    assert directory.splits == ("test", "train")
    assert sorted(directory.candidates("train").ids) == ["200:1", "200:2", "200:3"]
    assert sorted(directory.candidates("test").ids) == ["200:1", "200:2", "200:3", "200:4"]
    query = Sample("200:1", "A small brown bird.", task="birds_task0", positives=("200:2",), negatives=("200:1",))
    assert directory.queries("train").by_id("200:1") == query
    robin = Sample("200:1", None, picture(0), Modality.IMAGE, source="own photograph")
    assert directory.candidates("test").by_id("200:1") == robin
    assert directory.qrels_path("test").read_text() == "200:2 0 200:1 1 0\n"
    pool = directory.pools("test")["birds_task0"]
    assert sorted(directory.candidates("test").ids[pool]) == ["200:1", "200:2"]


def test_a_candidate_may_name_the_tasks_whose_local_pool_has_it(root: Path) -> None:
    append(root / "candidates.jsonl", id="x", text="Odd one.", tasks=["birds_task0"])
    assert JsonlSource(root).pools()["train"]["birds_task0"] == ["200:1", "200:2", "x"]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"text": "x"}, "lacks id"),
        ({"id": "x"}, "x: has neither text nor image"),
        ({"id": "x", "text": 3}, "x: text is not a string"),
        ({"id": "x", "txt": "x"}, "x: has unknown fields: txt"),
        ({"id": "x", "text": "x", "split": "dev"}, "x: split 'dev' is unknown"),
        ({"id": "x", "text": "x", "tasks": ["y"]}, "x: task 'y' is unknown"),
        ({"id": "x", "text": "x", "tasks": 3}, "x: tasks is neither a string nor a list"),
        ({"id": "x", "image": "pictures/owl.png"}, "x: image pictures/owl.png cannot be read"),
        ({"id": "x", "image": "../owl.png"}, "x: image path '../owl.png' leaves the folder"),
        ({"id": "x", "image": "tasks.json"}, "x: the image cannot be read"),
    ],
)
def test_a_broken_candidate_is_named_by_file_line_and_id(root: Path, record: dict, message: str) -> None:
    append(root / "candidates.jsonl", **record)
    [item] = [item for item in JsonlSource(root).items() if isinstance(item, BadSample)]
    assert str(item.error).startswith(f"{root / 'candidates.jsonl'}:5: {message}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positives": ["200:9"]}, "positive 200:9 is not among the candidates"),
        ({"positives": ["200:4"]}, "positive 200:4 is not among the candidates"),
        ({"positives": ["200:1", "200:2", "200:1"]}, "names positive 200:1 twice"),
        ({"split": None}, "belongs to no split"),
        ({"split": ["train", "test"]}, "belongs to no split, or to several"),
        ({"task": "cirr_task7"}, "task 'cirr_task7' is unknown"),
        ({"text": None, "image": "pictures/wren.png"}, 'holds "image", but birds_task0 asks with "text"'),
    ],
)
def test_a_broken_query_is_named_by_file_line_and_id(root: Path, changes: dict, message: str) -> None:
    record = {"id": "q", "text": "What?", "positives": ["200:1"], "split": "train"}
    append(root / "queries.jsonl", **(record | changes))
    [item] = [item for item in JsonlSource(root).items() if isinstance(item, BadSample)]
    assert str(item.error).startswith(f"{root / 'queries.jsonl'}:3: q: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "is not a list of tasks"),
        ("[]", "is not a list of tasks"),
        ('[{"dataset": "x"}]', "a task is not complete"),
        ('[{"dataset": "x", "query_modality": "smell", "candidate_modality": "text"}]', "modality 'smell' is unknown"),
    ],
)
def test_a_broken_table_of_tasks_is_named(root: Path, content: str, message: str) -> None:
    (root / "tasks.json").write_text(content)
    with pytest.raises(InputError, match=message) as raised:
        JsonlSource(root)
    assert "tasks.json" in str(raised.value)


def test_a_task_named_twice_is_refused(root: Path) -> None:
    [row] = json.loads((root / "tasks.json").read_text())
    (root / "tasks.json").write_text(json.dumps([row, row]))
    with pytest.raises(InputError, match="names a task twice"):
        JsonlSource(root)
