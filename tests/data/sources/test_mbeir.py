"""M-BEIR's published layout becomes samples, qrels and pools, and damage is named."""

import json
from pathlib import Path

import pytest

from lit_mmembed.data.building import BadSample
from lit_mmembed.data.sources.mbeir import MBeirSource
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample
from tests.data.sources.mbeir_folder import build, candidate, pack, picture, query, write_lines

TEST_POOL = "cand_pool/global/mbeir_union_test_cand_pool.jsonl"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return build(tmp_path / "mbeir")


def samples(source: MBeirSource) -> dict[tuple[str, str], Sample]:
    found = {}
    for item in source.items():
        assert not isinstance(item, BadSample), item.error
        part, sample = item
        assert (part, sample.id) not in found
        found[part, sample.id] = sample
    return found


def bad(source: MBeirSource) -> list[BadSample]:
    return [item for item in source.items() if isinstance(item, BadSample)]


def rewrite(path: Path, line: int, **changes: object) -> None:
    records = [json.loads(row) for row in path.read_text().splitlines()]
    records[line - 1] |= changes
    write_lines(path, records)


def test_every_record_becomes_a_sample_with_its_image_text_task_and_positives(root: Path) -> None:
    found = samples(MBeirSource(root))
    assert len(found) == 3 + 3 + 11 + 11
    assert found["queries/test", "8:2"] == Sample(
        "8:2", "Less.", picture(30), Modality.IMAGE_TEXT, task="cirr_task7", positives=("8:2",)
    )
    assert found["queries/train", "9:1"].text == "A cat – größer."
    assert found["candidates/test", "9:3"] == Sample("9:3", None, picture(3), Modality.IMAGE)
    assert found["candidates/train", "9:14"] == Sample("9:14", "Caption 14.")


@pytest.mark.parametrize(("parts", "compress"), [(1, True), (3, True), (2, False)])
def test_the_archive_gives_the_same_samples_as_the_folder(root: Path, parts: int, compress: bool) -> None:
    expected = samples(MBeirSource(root))
    pack(root, parts=parts, compress=compress)
    assert samples(MBeirSource(root)) == expected


def test_upsampled_lines_are_one_sample_and_their_number_is_kept(root: Path) -> None:
    assert MBeirSource(root).repeats() == {"train": {"8:1": 3}}


def test_a_repeated_line_elsewhere_or_with_other_content_is_a_duplicate_id(root: Path) -> None:
    path = root / "query/union_train/mbeir_union_up_train.jsonl"
    rewrite(path, 4, query_txt="Make it blue.")
    [item] = bad(MBeirSource(root))
    assert str(item.error).startswith(f"{path}:4: 8:1: duplicate id")
    rewrite(path, 4, query_txt="Make it red.")
    record = query("9:3", 0, ["9:3"], text="Another.")
    write_lines(root / "query/test/mbeir_mscoco_task0_test.jsonl", [record, record])
    assert [item.error.problem for item in bad(MBeirSource(root))] == ["duplicate id"]


def test_a_document_that_one_file_has_twice_is_a_duplicate_id(root: Path) -> None:
    path = root / TEST_POOL
    path.write_text(path.read_text() + json.dumps(candidate("8:1", text="Again.")) + "\n")
    [item] = bad(MBeirSource(root))
    assert str(item.error).startswith(f"{path}:12: 8:1: duplicate id")


def test_qrels_come_from_the_files_and_else_from_the_queries(root: Path) -> None:
    qrels = {split: list(rows) for split, rows in MBeirSource(root).qrels().items()}
    assert sorted(qrels["test"]) == [
        ("8:2", "8:2", 1, 7),
        ("9:3", "9:3", 1, 0),
        ("9:4", "9:12", 1, 3),
        ("9:4", "9:13", 1, 3),
    ]
    assert qrels["train"] == [("9:1", "9:1", 1, 0), ("9:1", "9:2", 1, 0), ("9:2", "9:11", 1, 3), ("8:1", "8:1", 1, 7)]


def test_local_pools_come_from_their_files_and_else_from_dataset_and_modality(root: Path) -> None:
    pools = {
        split: {name: list(dids) for name, dids in pool.items()} for split, pool in MBeirSource(root).pools().items()
    }
    test = pools["test"]
    assert test["mscoco_task0"] == ["9:1", "9:2", "9:3", "9:4"]
    assert test["mscoco_task3"] == ["9:11", "9:12", "9:13", "9:14"]
    assert test["cirr_task7"] == ["8:1", "8:2"]
    assert pools["train"]["cirr_task7"] == ["8:1", "8:2", "8:3"]
    assert test["edis_task2"] == []


def test_without_the_union_file_the_local_pools_together_are_the_pool_each_document_once(root: Path) -> None:
    (root / TEST_POOL).unlink()
    local = root / "cand_pool/local"
    write_lines(local / "mbeir_mscoco_task3_test_cand_pool.jsonl", [candidate(f"9:{n}", text="T.") for n in (12, 13)])
    write_lines(local / "mbeir_nights_task4_cand_pool.jsonl", [candidate("8:1", image=21)])
    write_lines(local / "mbeir_mscoco_task0_val_cand_pool.jsonl", [candidate("9:99", text="Of another split.")])
    found = {name for part, name in samples(MBeirSource(root)) if part == "candidates/test"}
    assert found == {"9:1", "9:2", "9:3", "9:4", "9:12", "9:13", "8:1", "8:2"}


def test_one_row_alone_keeps_its_queries_its_pool_and_their_positives(root: Path) -> None:
    rewrite(root / "query/test/mbeir_cirr_task7_test.jsonl", 1, pos_cand_list=["8:2", "9:14"])
    source = MBeirSource(root, tasks=["cirr_task7"])
    assert [task.name for task in source.tasks] == ["cirr_task7"]
    names = {part: {name for kind, name in samples(source) if kind == part} for part, _ in samples(source)}
    assert names["queries/test"] == {"8:2"}
    assert names["candidates/test"] == {"8:1", "8:2", "8:3", "9:14"}
    assert list(source.qrels()["test"]) == [("8:2", "8:2", 1, 7)]
    with pytest.raises(InputError, match="task 'cirr' is unknown"):
        MBeirSource(root, tasks=["cirr"])


def test_a_query_without_task_id_takes_the_row_that_its_modalities_fit(root: Path) -> None:
    for name, task in (
        ("mscoco_task0", "mscoco_task0"),
        ("mscoco_task3", "mscoco_task3"),
        ("cirr_task7", "cirr_task7"),
    ):
        path = root / f"query/test/mbeir_{name}_test.jsonl"
        record = json.loads(path.read_text())
        del record["task_id"]
        write_lines(path, [record])
        assert samples(MBeirSource(root))["queries/test", record["qid"]].task == task


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pos_cand_list": ["9:77"]}, "9:3: positive 9:77 is not in the pool"),
        ({"task_id": 4}, "9:3: dataset 9 has no task 4"),
        ({"task_id": "0"}, "9:3: task_id '0' is not an integer"),
        ({"task_id": 3}, '9:3: query_modality is "text", but mscoco_task3 asks with "image"'),
        ({"query_modality": "video"}, "9:3: modality 'video' is unknown"),
        ({"query_modality": "text,image"}, '9:3: query_modality says "image,text", but the record holds "text"'),
        ({"query_txt": None}, "9:3: has neither text nor image"),
        ({"query_txt": 7}, "9:3: query_txt is neither a string nor null"),
        ({"qid": ""}, "lacks qid"),
        ({"qid": "three"}, "three: id 'three' has no dataset number"),
        ({"pos_cand_list": [3]}, "9:3: pos_cand_list holds something that is no document id"),
    ],
)
def test_a_broken_query_is_named_by_file_line_and_id(root: Path, changes: dict, message: str) -> None:
    path = root / "query/test/mbeir_mscoco_task0_test.jsonl"
    rewrite(path, 1, **changes)
    [item] = bad(MBeirSource(root))
    assert str(item.error).startswith(f"{path}:1: {message}")
    assert item.error.fix


def test_a_line_that_is_no_json_is_named_by_file_and_line(root: Path) -> None:
    path = root / TEST_POOL
    path.write_text(path.read_text().replace("}\n", "\n", 1))
    item = bad(MBeirSource(root))[0]
    assert str(item.error).startswith(f"{path}:1: is not JSON")
    assert (item.part, item.id) == ("candidates/test", "")


@pytest.mark.parametrize("archived", [False, True])
def test_a_missing_image_is_named_for_every_sample_that_has_it(root: Path, archived: bool) -> None:
    (root / "mbeir_images/a/2.jpg").unlink()
    if archived:
        pack(root)
    found = {(item.part, item.id): str(item.error) for item in bad(MBeirSource(root))}
    assert set(found) == {("candidates/train", "9:2"), ("candidates/test", "9:2"), ("queries/test", "9:4")}
    message = found["candidates/test", "9:2"]
    assert message.startswith(f"{root / TEST_POOL}:5: 9:2: image mbeir_images/a/2.jpg")


@pytest.mark.parametrize("archived", [False, True])
def test_a_damaged_image_is_named_with_its_path(root: Path, archived: bool) -> None:
    (root / "mbeir_images/a/30.jpg").write_bytes(picture(30)[:200])
    if archived:
        pack(root)
    [item] = bad(MBeirSource(root))
    assert (item.part, item.id) == ("queries/test", "8:2")
    assert "mbeir_cirr_task7_test.jsonl:1: 8:2: mbeir_images/a/30.jpg: the image" in str(item.error)


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd"])
def test_an_image_path_cannot_leave_the_folder(root: Path, path: str) -> None:
    (root.parent / "secret.jpg").write_bytes(picture(1))
    rewrite(root / TEST_POOL, 1, img_path=path)
    [item] = bad(MBeirSource(root))
    assert "leaves the folder" in str(item.error)


def test_a_broken_line_of_qrels_is_named(root: Path) -> None:
    path = root / "qrels/test/mbeir_cirr_task7_test_qrels.txt"
    path.write_text("8:2 0 8:2 1\n")
    with pytest.raises(InputError, match=r"task7_test_qrels\.txt:1: is no line of M-BEIR's qrels"):
        list(MBeirSource(root).qrels()["test"])


def test_a_folder_without_queries_or_without_a_pool_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no queries in M-BEIR's layout"):
        MBeirSource(tmp_path / "elsewhere")
    (root / "cand_pool/global/mbeir_union_train_cand_pool.jsonl").unlink()
    (root / "cand_pool/local/mbeir_cirr_task7_cand_pool.jsonl").unlink()
    with pytest.raises(InputError, match=r"mbeir_union_train_cand_pool\.jsonl: is missing"):
        MBeirSource(root).repeats()


def test_the_folders_own_rows_stand_in_tasks_json(root: Path) -> None:
    row = {
        "dataset": "Mine",
        "dataset_id": 9,
        "mbeir_id": 0,
        "paper_id": 1,
        "query_modality": "text",
        "candidate_modality": "image",
    }
    (root / "tasks.json").write_text(json.dumps([row]))
    source = MBeirSource(root)
    assert [task.name for task in source.tasks] == ["mine_task0"]
    assert source.instructions_path is None
    assert {item.error.problem for item in bad(source)} == {"dataset 9 has no task 3", "dataset 8 has no task 7"}
