"""A per-task mirror becomes one row's samples."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lit_mmembed.data.building import BadSample
from lit_mmembed.data.sources.parquet import ParquetSource
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample
from tests.data.sources.folders import build_parquet
from tests.data.sources.mbeir_folder import picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return build_parquet(tmp_path / "mbeir_cirr_task7")


def corpus(path: Path, **changes: object) -> None:
    row = {"id": "8:0", "text": "", "image": {"bytes": picture(1), "path": None}, "modality": "image"} | changes
    pq.write_table(pa.Table.from_pylist([row]), path)


def test_rows_of_all_files_become_samples_of_the_task_that_the_folder_names(root: Path) -> None:
    source = ParquetSource(root)
    items = list(source.items())
    assert source.tasks[0].name == "cirr_task7"
    assert [(part, sample.id) for part, sample in items if part == "candidates/test"] == [
        ("candidates/test", f"8:{n}") for n in range(6)
    ]
    assert items[0] == ("candidates/test", Sample("8:0", None, picture(0), Modality.IMAGE))
    expected = Sample("8:1", "Less.", picture(51), Modality.IMAGE_TEXT, task="cirr_task7", positives=("8:3", "8:4"))
    assert items[-1] == ("queries/test", expected)
    assert list(source.qrels()["test"])[1] == ("8:0", "8:2", 0, 7)
    assert list(source.pools()["test"]["cirr_task7"]) == [f"8:{n}" for n in range(6)]


def test_splits_and_kinds_are_told_by_folders_too_and_images_may_be_plain_bytes(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "mirror"
    for kind, file in (
        ("corpus", "corpus-00000-of-00002"),
        ("queries", "query-00000-of-00001"),
        ("qrels", "qrels-00000-of-00001"),
    ):
        for split in ("validation", "test"):
            (other / kind).mkdir(parents=True, exist_ok=True)
            (other / kind / f"{split}-00000-of-00001.parquet").write_bytes((root / f"{file}.parquet").read_bytes())
    corpus(other / "corpus/test-00000-of-00001.parquet", image=picture(9))
    source = ParquetSource(other, task="cirr_task7")
    parts = [part for part, _ in source.items()]
    assert {part: parts.count(part) for part in parts} == {
        "candidates/test": 1,
        "queries/test": 2,
        "candidates/val": 3,
        "queries/val": 2,
    }


def test_the_modality_says_what_counts_so_a_placeholder_image_is_not_taken(root: Path) -> None:
    corpus(root / "corpus-00000-of-00002.parquet", modality="text", text="A text.")
    assert next(iter(ParquetSource(root).items())) == ("candidates/test", Sample("8:0", "A text."))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": {"bytes": picture(1)[:80], "path": None}}, "the image"),
        ({"image": {"bytes": None, "path": "a"}}, "has neither text nor image"),
        ({"modality": "image,text"}, 'modality says "image,text", but a part is missing'),
        ({"modality": "sound"}, "modality 'sound' is unknown"),
        ({"modality": None, "image": None}, "has neither text nor image"),
    ],
)
def test_a_damaged_row_is_named_by_file_row_and_id(root: Path, changes: dict, message: str) -> None:
    corpus(root / "corpus-00000-of-00002.parquet", **changes)
    [item] = [item for item in ParquetSource(root).items() if isinstance(item, BadSample)]
    assert f"corpus-00000-of-00002.parquet:1: 8:0: {message}" in str(item.error)
    assert item.id == "8:0"


def test_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say which task"):
        ParquetSource(tmp_path)
    with pytest.raises(InputError, match=r"has no corpus-\*\.parquet"):
        ParquetSource(tmp_path / "elsewhere", task="cirr_task7")
    pq.write_table(pa.table({"qid": ["a"]}), root / "qrels-00000-of-00001.parquet")
    with pytest.raises(InputError, match=r"qrels.*lacks the column query-id, corpus-id, score"):
        list(ParquetSource(root).items())
    (root / "qrels-00000-of-00001.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(InputError, match=r"qrels.*is not a readable Parquet file"):
        list(ParquetSource(root).items())
