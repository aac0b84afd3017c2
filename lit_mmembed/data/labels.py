"""Queries and candidates as mining and evaluation see them: ids, tasks, positives, modalities.

They come from M-BEIR's JSONL files, from shard sets, or from a data directory (its test split, or the only one).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_mmembed.data.directory import task_from_row
from lit_mmembed.data.reader import ShardReader
from lit_mmembed.data.shards import INDEX_FILE, MANIFEST_FILE
from lit_mmembed.data.tasks import MBEIR_MODALITIES, MBEIR_TASKS, PAPER_ID
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json
from lit_mmembed.types import Modality, Task

TASKS_FILE = "tasks.json"
SPLIT = "test"


@dataclass(frozen=True)
class QueryLabels:
    """The queries of a file: what is asked, and which documents answer it."""

    ids: np.ndarray
    """[n] object array of str."""
    task: np.ndarray
    """[n] int64: index into `tasks`."""
    tasks: tuple[Task, ...]
    file: Path
    positives: Callable[[int], tuple[str, ...]]
    """Row -> ids of the labelled positives."""


@dataclass(frozen=True)
class CandidateLabels:
    """The documents of a pool."""

    ids: np.ndarray
    """[n] object array of str."""
    modality: np.ndarray
    """[n] int8 modality codes."""
    file: Path
    content: Callable[[int], tuple[str | None, bytes | None]]
    """Row -> text and encoded image (for a JSONL whose image is not at hand: its path)."""


def read_queries(path: str | Path) -> QueryLabels:
    """Read the labels of queries.

    Raises:
        InputError: a broken line, a duplicate id, an unknown task number; names file and line.
    """
    path = Path(path)
    if path.is_dir():
        return query_labels(ShardReader(_shard_set(path, "queries")))
    known = known_tasks(path)
    rows: list[tuple[str, Task, tuple[str, ...]]] = []
    for record, line, _ in _records(path, ("qid", "task_id")):
        task = _at_line(path, line, lambda record=record: task_of(str(record["qid"]), record["task_id"], known))  # type: ignore[misc]
        rows.append((str(record["qid"]), task, _ids(record.get("pos_cand_list") or ())))
    tasks = tuple(dict.fromkeys(task for _, task, _ in rows))
    place = {task: index for index, task in enumerate(tasks)}
    return QueryLabels(
        ids=_unique([qid for qid, _, _ in rows], path),
        task=np.array([place[task] for _, task, _ in rows], dtype=np.int64),
        tasks=tasks,
        file=path,
        positives=lambda row: rows[row][2],
    )


def query_labels(reader: ShardReader) -> QueryLabels:
    """Take the labels of queries from their shard set; ids and tasks are in its index, no sample is read for them."""
    return QueryLabels(
        ids=reader.ids,
        task=np.asarray(reader.task, dtype=np.int64),
        tasks=known_tasks(reader.folder),
        file=reader.folder,
        positives=lambda row: reader[row].positives,
    )


def read_candidates(path: str | Path) -> CandidateLabels:
    """Read the labels of documents.

    Raises:
        InputError: a broken line, a duplicate id, an unknown modality, neither text nor image; names file and line.
    """
    path = Path(path)
    if path.is_dir():
        reader = ShardReader(_shard_set(path, "candidates"))
        return CandidateLabels(reader.ids, reader.modality, reader.folder, lambda row: _content(reader, row))
    ids, codes, offsets = [], [], []
    for record, line, offset in _records(path, ("did", "modality")):
        codes.append(_at_line(path, line, lambda record=record: _modality(record)).code)  # type: ignore[misc]
        ids.append(str(record["did"]))
        offsets.append(offset)
    places = np.array(offsets, dtype=np.int64)
    modality = np.array(codes, dtype=np.int8)
    return CandidateLabels(_unique(ids, path), modality, path, lambda row: _content_of_line(path, int(places[row])))


def task_of(qid: str, mbeir_id: Any, tasks: Sequence[Task] = MBEIR_TASKS) -> Task:
    """Name a query's task from M-BEIR's two numbers: the dataset's (the id's part before the colon) and the task's.

    A dataset that the table does not know gets a row of its own, "dataset42_task0".
    """
    dataset_id, number = _whole(qid.partition(":")[0] if ":" in qid else ""), _whole(mbeir_id)
    found = next((task for task in tasks if (task.dataset_id, task.mbeir_id) == (dataset_id, number)), None)
    if found is not None:
        return found
    if number not in MBEIR_MODALITIES:
        raise InputError(f"task_id {mbeir_id!r} of {qid} is unknown", fix=f"use one of {sorted(MBEIR_MODALITIES)}")
    names = {task.dataset_id: task.dataset for task in tasks}
    name = names.get(dataset_id, f"dataset{dataset_id}" if dataset_id >= 0 else "dataset")
    return Task(name, dataset_id, number, PAPER_ID[number], *MBEIR_MODALITIES[number])


def known_tasks(path: str | Path) -> tuple[Task, ...]:
    """The tasks named by `tasks.json` or by a data directory's manifest at a path or above it; else M-BEIR's 16."""
    path = Path(path).resolve()
    for folder in (path, *path.parents[:3]):
        for file in (folder / TASKS_FILE, folder / MANIFEST_FILE):
            content = read_json(file) if file.is_file() else None
            rows = content.get("tasks") if isinstance(content, Mapping) else content
            if isinstance(rows, list):
                return tuple(task_from_row(row, file=file) for row in rows)
    return MBEIR_TASKS


def _whole(number: Any) -> int:
    """The whole number that something spells, or -1."""
    return int(str(number)) if str(number).isdecimal() else -1


def _shard_set(path: Path, side: str) -> Path:
    if (path / INDEX_FILE).exists():
        return path
    splits = sorted(index.parent for index in (path / side).glob(f"*/{INDEX_FILE}"))
    chosen = [split for split in splits if split.name == SPLIT] or splits
    if len(chosen) == 1:
        return chosen[0]
    fix = f"name a JSONL file, or a shard set such as DIR/{side}/{SPLIT}"
    raise InputError(f"is neither a shard set nor a data directory with one split of {side}", file=path, fix=fix)


def _records(path: Path, required: Sequence[str]) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Yield each record of a JSONL file with its line (from 1) and byte offset."""
    if not path.exists():
        raise InputError("does not exist", file=path, fix="name M-BEIR's JSONL file or a shard set")
    offset = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield _record(path, number, line, required), number, offset
            offset += len(line)


def _record(path: Path, number: int, line: bytes, required: Sequence[str]) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as broken:
        raise InputError(
            f"is not JSON: {broken}", file=path, record=f"line {number}", fix="correct this line"
        ) from None
    missing = [name for name in required if not isinstance(record, dict) or record.get(name) is None]
    if missing:
        raise InputError(f"has no {missing[0]}", file=path, record=f"line {number}", fix="give M-BEIR's fields")
    return record


def _at_line(path: Path, line: int, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except InputError as wrong:
        raise InputError(wrong.problem, file=path, record=f"line {line}", fix=wrong.fix) from None


def _modality(record: Mapping[str, Any]) -> Modality:
    parts = {name: record[name] for name in ("txt", "img_path") if name in record}
    if parts and not any(parts.values()):
        raise InputError(f"{record['did']} has neither text nor image", fix="give it txt, img_path or both")
    return Modality.parse(record["modality"])


def _ids(listed: Sequence[Any]) -> tuple[str, ...]:
    """M-BEIR's files list strings, its documentation shows {"did": ...}."""
    return tuple(str(item["did"]) if isinstance(item, Mapping) else str(item) for item in listed)


def _unique(ids: list[str], path: Path) -> np.ndarray:
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        again = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InputError("duplicate id", file=path, record=again, fix="give every line its own id")
    return np.array(ids, dtype=object)


def _content(reader: ShardReader, row: int) -> tuple[str | None, bytes | None]:
    sample = reader[row]
    return sample.text, sample.image


def _content_of_line(path: Path, offset: int) -> tuple[str | None, bytes | None]:
    with path.open("rb") as stream:
        stream.seek(offset)
        record = json.loads(stream.readline())
    image = record.get("img_path")
    if not image:
        return record.get("txt"), None
    found = next((folder / image for folder in path.parents if (folder / image).is_file()), None)
    return record.get("txt"), str(image).encode() if found is None else found.read_bytes()
