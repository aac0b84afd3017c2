from __future__ import annotations

import io
import json
import random
import tracemalloc

import pytest
from PIL import Image

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.instructions import Instructions
from lit_mmembed.data.sharding import shard
from lit_mmembed.data.text_pairs import write_text_pairs
from lit_mmembed.errors import InputError
from tests.data.birds import FIELDS, write_birds, write_jsonl
from tests.encoders.small import jpeg
from tests.tiny import json_lines


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_birds(tmp_path_factory.mktemp("birds"))


@pytest.fixture(scope="module")
def source(data, tmp_path_factory):
    return write_text_pairs(data, tmp_path_factory.mktemp("pairs") / "source")


def pairs_of(source, split):
    texts = {row["id"]: row["text"] for row in json_lines(source / "candidates.jsonl")}
    rows = [row for row in json_lines(source / "queries.jsonl") if row["split"] == split]
    return {(row["task"], row["text"], texts[did]) for row in rows for did in row["positives"]}


def test_pairs_are_questions_with_their_passages_and_captions_of_one_picture(source):
    assert pairs_of(source, "train") == {
        ("birds_task1", "A small brown bird.", "A wren on a branch."),
        ("facts_task1", "How heavy is a wren?", "Wrens weigh nine grams."),
        ("facts_task1", "How many eggs has a wren?", "Wrens lay six eggs."),
    }


def test_validation_pairs_come_from_the_validation_split_and_the_test_split_gives_none(source):
    assert pairs_of(source, "val") == pairs_of(source, "train") - {
        ("facts_task1", "How many eggs has a wren?", "Wrens lay six eggs.")
    }
    assert pairs_of(source, "test") == set()


def test_the_pool_is_every_text_once_with_passages_that_stood_beside_pictures(source):
    pools = {"train": set(), "val": set()}
    for row in json_lines(source / "candidates.jsonl"):
        for split in row["split"]:
            assert row["text"] not in pools[split]
            pools[split].add(row["text"])
    alone = {"A small brown bird.", "A wren on a branch.", "Wrens weigh nine grams.", "Robins sing at night."}
    assert pools == {"train": alone | {"Wrens lay six eggs."}, "val": alone}


def test_the_folder_can_be_sharded_and_has_instructions_for_every_task(source, tmp_path):
    directory = DataDirectory(shard(source="jsonl", root=source, out=tmp_path / "shards"))
    instructions = Instructions.load(directory.instructions_path)
    wordings = {task.name: instructions.wordings(task) for task in directory.tasks}
    assert wordings["facts_task1"] == ("Find the fact.",)
    assert wordings["birds_task1"][0] == "Find another caption of the same picture."
    assert directory.splits == ("train", "val")
    assert {task.query_modality for task in directory.tasks} == {"text"}


def test_the_same_directory_gives_the_same_bytes(data, source, tmp_path):
    again = write_text_pairs(data, tmp_path / "again")
    for file in source.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()


def noise(number: int) -> bytes:
    """A picture of some 68 kB, another one for each number."""
    stream = io.BytesIO()
    Image.frombytes("RGB", (150, 150), random.Random(number).randbytes(3 * 150 * 150)).save(stream, "PNG")
    return stream.getvalue()


def test_pictures_are_not_held_in_memory(tmp_path):
    count = 60
    images = [noise(number) for number in range(count)]
    task = ("Birds", 20, 3, 4, "image", "text"), ("Birds", 20, 0, 1, "text", "image")
    (tmp_path / "tasks.json").write_text(json.dumps([dict(zip(FIELDS, row, strict=True)) for row in task]))
    documents, queries = [], []
    for number, image in enumerate(images):
        (tmp_path / f"{number}.png").write_bytes(image)
        documents += [{"id": f"20:{number}", "text": f"Bird {number}."}]
        documents += [{"id": f"20:i{number}", "image": f"{number}.png"}]
        asked = {"split": "train", "task": "birds_task3", "positives": [f"20:{number}"]}
        queries += [{"id": f"20:q{number}", "image": f"{number}.png", **asked}]
        asked = {"split": "train", "task": "birds_task0", "positives": [f"20:i{number}"]}
        queries += [{"id": f"20:t{number}", "text": f"A picture of bird {number}.", **asked}]
    write_jsonl(tmp_path, "candidates", documents)
    write_jsonl(tmp_path, "queries", queries)
    data = shard(source="jsonl", root=tmp_path, out=tmp_path / "shards")
    tracemalloc.start()
    try:
        source = write_text_pairs(data, tmp_path / "pairs")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(pairs_of(source, "train")) == count
    assert peak < sum(map(len, images)) / 3


def test_a_directory_without_texts_that_belong_together_is_an_error(tmp_path):
    (tmp_path / "1.jpg").write_bytes(jpeg(1))
    task = ("Birds", 20, 0, 1, "text", "image")
    (tmp_path / "tasks.json").write_text(json.dumps([dict(zip(FIELDS, task, strict=True))]))
    write_jsonl(tmp_path, "candidates", [{"id": "20:1", "image": "1.jpg"}])
    write_jsonl(tmp_path, "queries", [{"id": "20:9", "text": "A bird.", "positives": ["20:1"], "split": "train"}])
    data = shard(source="jsonl", root=tmp_path, out=tmp_path / "shards")
    with pytest.raises(InputError, match="no pair of texts"):
        write_text_pairs(data, tmp_path / "pairs")
