"""A data directory: written whole or not at all, read back, verified to the byte."""

import pytest

from lit_mmembed.data.building import BadSample, write_directory
from lit_mmembed.data.directory import DataDirectory, task_from_row, task_row
from lit_mmembed.data.verify import verify
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample, Task
from tests.data.test_shards import picture

TASKS = (
    Task("Emoji", 20, 0, 1, Modality.TEXT, Modality.IMAGE, domain="misc"),
    Task("Atlas", 21, 1, 2, Modality.TEXT, Modality.TEXT),
)
ITEMS = [
    ("queries/train", Sample("20:1", "find x", task="emoji_task0", positives=("20:10",))),
    ("candidates/train", Sample("20:10", None, picture(), Modality.IMAGE)),
    ("queries/test", Sample("21:1", "what is y", task="atlas_task1", positives=("21:5",))),
    ("candidates/test", Sample("21:5", "y is", None)),
    ("candidates/test", Sample("20:6", None, picture((9, 9, 9)), Modality.IMAGE)),
    ("candidates/test", Sample("20:7", "z is", None)),
    ("queries/train", Sample("21:2", "why", task="atlas_task1", positives=("20:10",))),
]
QRELS = {"train": [("20:1", "20:10", 1, 0)], "test": [("21:1", "21:5", 1, 1)]}


def build(out, items=None, **changes):
    options = {"name": "small", "source": "a test", "tasks": TASKS, "qrels": QRELS, **changes}
    return write_directory(out, ITEMS if items is None else items, **options)


def test_what_is_written_is_what_is_read(tmp_path):
    (tmp_path / "i.tsv").write_text("x")
    directory = DataDirectory(
        build(tmp_path / "d", instructions_tsv=tmp_path / "i.tsv", repeats={"train": {"21:2": 3}})
    )
    assert directory.tasks == TASKS
    assert directory.splits == ("test", "train")
    assert [sample.id for sample in directory.queries("train")] == ["20:1", "21:2"]
    assert directory.queries("train").task.tolist() == [0, 1]
    assert directory.qrels_path("test").read_text() == "21:1 0 21:5 1 1\n"
    assert {name: rows.tolist() for name, rows in directory.pools("test").items()} == {
        "emoji_task0": [1],
        "atlas_task1": [0],
    }
    assert directory.repeats("train").tolist() == [1, 3]
    assert directory.repeats("test") is None
    assert directory.instructions_path.read_text() == "x"
    assert verify(directory.path) == []


def test_given_pools_are_kept(tmp_path):
    pools = {"test": {"atlas_task1": ["20:7", "21:5"]}}
    directory = DataDirectory(build(tmp_path / "d", pools=pools))
    assert directory.pools("test")["atlas_task1"].tolist() == [2, 0]
    assert directory.pools("train")["emoji_task0"].tolist() == [0]


def test_the_same_input_gives_the_same_hash_and_other_input_another(tmp_path):
    first, again = (DataDirectory(build(tmp_path / name)).hash for name in "ab")
    other = DataDirectory(build(tmp_path / "c", [*ITEMS, ("candidates/test", Sample("20:8", "more"))])).hash
    assert first == again != other


@pytest.mark.parametrize(
    ("items", "qrels", "problem"),
    [
        ([*ITEMS, ITEMS[0]], QRELS, r"queries/train: 20:1: duplicate id"),
        ([*ITEMS, ("candidates/test", Sample("20:9", None))], QRELS, r"candidates/test: 20:9: has neither"),
        (ITEMS, {"test": [("21:1", "21:99", 1, 1)]}, r"qrels/test.txt: 21:1 21:99: names an unknown document"),
        (ITEMS, {"test": [("21:77", "21:5", 1, 1)]}, r"names an unknown query"),
        ([BadSample("queries/train", "20:4", InputError("is broken", file="q.jsonl:3"))], {}, "q.jsonl:3.*is broken"),
    ],
)
def test_bad_input_is_named_and_leaves_nothing_behind(tmp_path, items, qrels, problem):
    with pytest.raises(InputError, match=problem):
        build(tmp_path / "d", items, qrels=qrels)
    assert list(tmp_path.iterdir()) == []


def test_skipping_goes_on_counts_and_lists(tmp_path):
    bad = [
        ("candidates/test", Sample("20:9", None)),
        BadSample("candidates/test", "20:11", InputError("is broken", file="c.jsonl:3")),
    ]
    qrels = {"test": [*QRELS["test"], ("21:1", "20:11", 1, 1)]}
    directory = DataDirectory(build(tmp_path / "d", [*bad, *ITEMS], qrels=qrels, on_bad_sample="skip"))
    listed = (directory.path / "skipped.jsonl").read_text()
    assert directory.manifest["skipped"] == 2
    assert "20:9" in listed
    assert "c.jsonl:3: is broken" in listed
    assert directory.qrels_path("test").read_text() == "21:1 0 21:5 1 1\n"
    assert len(directory.candidates("test")) == 3


def test_an_existing_directory_is_not_overwritten(tmp_path):
    build(tmp_path / "d")
    with pytest.raises(InputError, match="exists already"):
        build(tmp_path / "d")


def test_verify_names_a_changed_side_file(tmp_path):
    path = build(tmp_path / "d")
    (path / "qrels/test.txt").write_text("21:1 0 21:5 0 1\n")
    assert any("qrels/test.txt" in line for line in verify(path))


def test_a_task_survives_its_row_and_an_incomplete_one_is_named():
    assert task_from_row(task_row(TASKS[0])) == TASKS[0]
    with pytest.raises(InputError, match="not complete"):
        task_from_row({"dataset": "x", "query_modality": "text", "candidate_modality": "text"})


def test_what_is_no_directory_says_so(tmp_path):
    with pytest.raises(InputError, match="not a data directory"):
        DataDirectory(tmp_path)
