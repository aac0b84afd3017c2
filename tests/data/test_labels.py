"""Labels from JSONL, shard sets and data directories. Most of it is tested through `mine` and `evaluate`."""

import json

import pytest

from lit_mmembed.data.labels import known_tasks, read_candidates, read_queries, task_of
from lit_mmembed.data.shards import write_shard_set
from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample


def test_a_task_is_named_by_the_datasets_number_and_the_tasks() -> None:
    assert task_of("2:17", 1) is MBEIR_TASKS[3]
    assert task_of("2:17", "2").name == "webqa_task2"


def test_a_pair_that_mbeir_lacks_keeps_the_tasks_modalities() -> None:
    task = task_of("4:1", 3)
    assert (task.name, task.paper_id, task.cutoff) == ("nights_task3", 4, 5)
    assert (task.query_modality, task.candidate_modality) == (Modality.IMAGE, Modality.TEXT)
    assert task_of("no-number", 1).name == "dataset_task1"


@pytest.mark.parametrize("number", [5, 9, -1, "x", None, 1.5])
def test_a_task_number_that_does_not_exist_is_reported(number) -> None:
    with pytest.raises(InputError, match=r"task_id .* of 9:1 is unknown .*0, 1, 2, 3, 4, 6, 7, 8"):
        task_of("9:1", number)


def test_a_document_gives_its_text_and_its_image_found_above_the_file(tmp_path) -> None:
    (tmp_path / "mbeir_images").mkdir()
    (tmp_path / "mbeir_images" / "a.jpg").write_bytes(b"picture")
    pool = tmp_path / "cand_pool" / "local"
    pool.mkdir(parents=True)
    documents = [
        {"did": "9:1", "txt": "é", "img_path": None, "modality": "text"},
        {"did": "9:2", "txt": "b", "img_path": "mbeir_images/a.jpg", "modality": "text,image"},
        {"did": "9:3", "txt": None, "img_path": "mbeir_images/gone.jpg", "modality": "image"},
    ]
    lines = [json.dumps(document, ensure_ascii=False) for document in documents]
    (pool / "c.jsonl").write_text("\n".join(lines), encoding="utf-8")
    candidates = read_candidates(pool / "c.jsonl")
    assert candidates.ids.tolist() == ["9:1", "9:2", "9:3"]
    assert candidates.modality.tolist() == [0, 2, 1]
    assert [candidates.content(row) for row in range(3)] == [
        ("é", None),
        ("b", b"picture"),
        (None, b"mbeir_images/gone.jpg"),
    ]


def test_a_directory_with_several_splits_and_no_test_split_must_be_told_apart(tmp_path) -> None:
    for split in ("train", "val"):
        write_shard_set(tmp_path / "candidates" / split, [Sample(f"9:{split}", "x")])
    with pytest.raises(InputError, match="neither a shard set nor a data directory with one split of candidates"):
        read_candidates(tmp_path)
    assert read_candidates(tmp_path / "candidates" / "val").ids.tolist() == ["9:val"]
    write_shard_set(tmp_path / "candidates" / "test", [Sample("9:test", "x")])
    assert read_candidates(tmp_path).ids.tolist() == ["9:test"]


def test_a_missing_file_is_reported(tmp_path) -> None:
    with pytest.raises(InputError, match=r"q\.jsonl: does not exist"):
        read_queries(tmp_path / "q.jsonl")


def test_an_incomplete_row_of_tasks_json_is_reported(tmp_path) -> None:
    (tmp_path / "tasks.json").write_text('[{"dataset": "Mine"}]')
    with pytest.raises(InputError, match=r"tasks\.json: .*a task is not complete"):
        known_tasks(tmp_path / "q.jsonl")
