"""`shard` makes a whole directory or none, and skips only what it was told to skip."""

import json
import logging
from pathlib import Path

import pytest

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.sharding import SOURCES, shard
from lit_mmembed.errors import InputError
from tests.data.sources.mbeir_folder import build, pack, picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return build(tmp_path / "mbeir")


def test_mbeir_from_the_archive_becomes_a_directory_with_repeats_pools_and_instructions(
    root: Path, tmp_path: Path
) -> None:
    pack(root)
    directory = DataDirectory(shard(source="mbeir", root=root, out=tmp_path / "out"))
    assert directory.manifest["counts"] == {
        "candidates/test": 11,
        "candidates/train": 11,
        "queries/test": 3,
        "queries/train": 3,
    }
    repeats, ids = directory.repeats("train"), directory.queries("train").ids
    assert repeats is not None
    assert dict(zip(ids, repeats.tolist(), strict=True)) == {"9:1": 1, "9:2": 1, "8:1": 3}
    assert sorted(directory.candidates("test").ids[directory.pools("test")["cirr_task7"]]) == ["8:1", "8:2"]
    assert directory.instructions_path is not None
    assert directory.manifest["source"] == "mbeir"


def test_nothing_is_left_behind_when_an_image_is_damaged(root: Path, tmp_path: Path) -> None:
    (root / "mbeir_images/a/2.jpg").write_bytes(picture(2)[:100])
    with pytest.raises(InputError, match=r"\.jsonl:\d+: 9:\d: mbeir_images/a/2\.jpg: the image"):
        shard(source="mbeir", root=root, out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["mbeir"]


def test_skipping_goes_on_without_the_damaged_samples_and_lists_them(root: Path, tmp_path: Path) -> None:
    (root / "mbeir_images/a/2.jpg").unlink()
    out = shard(source="mbeir", root=root, out=tmp_path / "out", on_bad_sample="skip")
    directory = DataDirectory(out)
    assert directory.manifest["skipped"] == 3
    listed = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert {(row["part"], row["id"]) for row in listed} == {
        ("candidates/train", "9:2"),
        ("candidates/test", "9:2"),
        ("queries/test", "9:4"),
    }
    assert directory.candidates("train").find("9:2") is None
    assert "9:2" not in directory.qrels_path("train").read_text().split(" ")


def test_another_size_than_the_published_one_is_warned_about(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        shard(source="mbeir", root=root, out=tmp_path / "out")
    [message] = caplog.messages
    assert "cirr_task7 1 queries, 2 documents (published 4,170, 21,551)" in message
    assert "edis_task2" not in message


def test_an_unknown_source_option_or_folder_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="use one of " + ", ".join(SOURCES)):
        shard(source="csv", root=root, out=tmp_path / "out")
    with pytest.raises(InputError, match="unexpected keyword argument 'colour'"):
        shard(source="mbeir", root=root, out=tmp_path / "out", colour="red")
    with pytest.raises(InputError, match="is not a folder"):
        shard(source="mbeir", root=root / "none", out=tmp_path / "out")
