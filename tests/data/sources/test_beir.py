"""A BEIR folder becomes one text-to-text task."""

from pathlib import Path

import pytest

from lit_mmembed.data.building import BadSample
from lit_mmembed.data.sources.beir import BeirSource
from lit_mmembed.errors import InputError
from lit_mmembed.types import Sample
from tests.data.sources.folders import build_beir
from tests.tiny import mmembed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return build_beir(tmp_path / "Birds")


def test_titles_are_joined_and_only_judged_queries_are_taken(root: Path) -> None:
    assert list(BeirSource(root).items()) == [
        ("candidates/train", Sample("d1", "Wrens They sing.")),
        ("candidates/train", Sample("d2", "Robins.")),
        ("queries/train", Sample("q1", "Which bird 1?", task="birds_task1", positives=("d1",))),
        ("candidates/test", Sample("d1", "Wrens They sing.")),
        ("candidates/test", Sample("d2", "Robins.")),
        ("queries/test", Sample("q2", "Which bird 2?", task="birds_task1", positives=("d2",))),
    ]


def test_graded_judgements_are_kept(root: Path) -> None:
    qrels = {split: list(rows) for split, rows in BeirSource(root).qrels().items()}
    assert qrels == {"train": [("q1", "d1", 1, 1), ("q1", "d2", 0, 1)], "test": [("q2", "d2", 2, 1)]}


def test_one_split_can_be_chosen_and_an_absent_one_is_refused(root: Path) -> None:
    assert {part for part, _ in BeirSource(root, splits=["test"]).items()} == {"queries/test", "candidates/test"}
    with pytest.raises(InputError, match="has no qrels for val"):
        BeirSource(root, splits=["val"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"_id": "d9", "title": "", "text": ""}', "d9: has neither title nor text"),
        ('{"text": "x"}', "lacks _id"),
        ("[1]", "is not a JSON object"),
        ("{", "is not JSON"),
    ],
)
def test_a_broken_document_is_named_by_file_and_line(root: Path, line: str, message: str) -> None:
    with (root / "corpus.jsonl").open("a") as stream:
        stream.write(line + "\n")
    bad = [item for item in BeirSource(root).items() if isinstance(item, BadSample)]
    assert len(bad) == 2
    assert str(bad[0].error).startswith(f"{root / 'corpus.jsonl'}:3: {message}")


def test_a_broken_line_of_qrels_and_a_folder_without_any_are_named(root: Path) -> None:
    (root / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\n")
    with pytest.raises(InputError, match=r"test\.tsv:2: is no line of BEIR's qrels"):
        list(BeirSource(root).items())
    with pytest.raises(InputError, match=r"has no train\.tsv, dev\.tsv or test\.tsv"):
        BeirSource(root / "qrels")


@pytest.mark.parametrize("score", [2, 0])
def test_a_pair_that_is_judged_twice_is_named_by_file_and_line_also_where_both_agree(root: Path, score: int) -> None:
    file = root / "qrels/test.tsv"
    file.write_text(f"query-id\tcorpus-id\tscore\nq2\td2\t2\nq2\td1\t1\nq3\td2\t1\nq2\td2\t{score}\n")
    ran = mmembed("shard", "--source", "beir", "--root", root, "--out", root.parent / "out")
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert ran.err.startswith(f"mmembed: error: {file}:5: q2 d2: is judged twice (fix: keep one of its lines")
    assert not (root.parent / "out").exists()
