"""The per-task Parquet mirrors of M-BEIR (corpus, query, qrels with the images inside): one row without the 170 GB tar.

Columns as mteb names them: id, text, image, modality; query-id, corpus-id, score. Files are told by their path, as in
`corpus-00000-of-00004.parquet`, `query/test-00000-of-00001.parquet` or `qrels-test.parquet`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lit_mmembed.data.building import Qrel
from lit_mmembed.data.images import check_image
from lit_mmembed.data.instructions import MBEIR_INSTRUCTIONS
from lit_mmembed.data.sources.base import Item, Pools, Qrels, bad_sample
from lit_mmembed.data.sources.mbeir import LICENCES
from lit_mmembed.data.spelling import check_id
from lit_mmembed.data.tasks import MBEIR_TASKS, task_by_name
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample, Task

BATCH = 256
"""Rows read at a time: at 100 KB an image, 25 MB."""
KINDS = {"corpus": "corpus", "query": "query", "queries": "query", "qrels": "qrels"}
SPLIT_WORDS = {"train": "train", "val": "val", "validation": "val", "dev": "val", "test": "test"}


class ParquetSource:
    """Reads one row of M-BEIR from a mirror.

    Args:
        root: The folder with the Parquet files.
        task: M-BEIR's evaluation name, e.g. "cirr_task7"; without it the folder's name must end with one.
    """

    def __init__(self, root: Path, task: str | None = None) -> None:
        self.root = Path(root)
        self.task = task_by_name(task) if task else _task_of_folder(self.root)
        self.tasks: tuple[Task, ...] = (self.task,)
        self.name = f"mbeir_{self.task.name}"
        self.instructions_path: Path | None = MBEIR_INSTRUCTIONS
        self._files = _find_files(self.root)

    def items(self) -> Iterator[Item]:
        """Yield the corpus and the queries of each split."""
        for split in self._splits:
            for path, row, record in self._records("corpus", split):
                yield self._item(f"candidates/{split}", (path, row), record, ())
            positives = self._positives(split)
            for path, row, record in self._records("query", split):
                found = tuple(positives.get(_id(record), ()))
                yield self._item(f"queries/{split}", (path, row), record, found)

    def qrels(self) -> Qrels:
        """Return the judged pairs."""
        return {split: self._judged(split) for split in self._splits}

    def pools(self) -> Pools:
        """Return the whole corpus as the row's local pool."""
        return {split: {self.task.name: self._documents(split)} for split in self._splits}

    def repeats(self) -> Mapping[str, Mapping[str, int]]:
        """Return nothing: a mirror names every query once."""
        return {}

    def licences(self) -> tuple[str, ...]:
        """Return M-BEIR's licence."""
        return LICENCES

    @cached_property
    def _splits(self) -> tuple[str, ...]:
        return tuple(sorted(split for kind, split in self._files if kind == "query" and split))

    def _paths(self, kind: str, split: str) -> list[Path]:
        """A file that names no split (mostly the corpus) belongs to every split."""
        found = self._files.get((kind, split), []) + self._files.get((kind, ""), [])
        if not found:
            raise InputError(f"has no {kind} file for {split}", file=self.root, fix=f"fetch {kind}-*.parquet")
        return found

    def _records(self, kind: str, split: str) -> Iterator[tuple[Path, int, dict[str, Any]]]:
        columns = {"corpus": ("id",), "query": ("id",), "qrels": ("query-id", "corpus-id", "score")}[kind]
        for path in self._paths(kind, split):
            yield from _rows(path, columns)

    def _judged(self, split: str) -> Iterator[Qrel]:
        for _, _, record in self._records("qrels", split):
            yield str(record["query-id"]), str(record["corpus-id"]), int(record["score"]), self.task.mbeir_id

    def _positives(self, split: str) -> dict[str, list[str]]:
        positives = defaultdict(list)
        for qid, did, relevance, _ in self._judged(split):
            if relevance > 0:
                positives[qid].append(did)
        return positives

    def _documents(self, split: str) -> Iterator[str]:
        for path in self._paths("corpus", split):
            for batch in pq.ParquetFile(path).iter_batches(columns=["id"]):
                yield from (str(did) for did in batch["id"].to_pylist())

    def _item(self, part: str, place: tuple[Path, int], record: dict[str, Any], positives: tuple[str, ...]) -> Item:
        name = _id(record)
        try:
            check_id(name)
            text, image, modality = _content(record)
            if image is not None:
                check_image(image)
        except InputError as wrong:
            return bad_sample(part, place, name, wrong)
        task = self.task.name if part.startswith("queries/") else None
        return part, Sample(name, text, image, modality, task=task, positives=positives)


def _id(record: dict[str, Any]) -> str:
    return str(record["id"])


def _content(record: dict[str, Any]) -> tuple[str | None, bytes | None, Modality]:
    """Take what the modality says: mirrors fill the other column with an empty text or a placeholder image."""
    text, image = record.get("text") or None, record.get("image")
    if isinstance(image, dict):
        image = image.get("bytes")
    said = record.get("modality")
    if not said:
        return text, image or None, Modality.of(text=text is not None, image=bool(image))
    modality = Modality.parse(said)
    if modality is Modality.TEXT:
        image = None
    if modality is Modality.IMAGE:
        text = None
    if Modality.of(text=text is not None, image=bool(image)) is not modality:
        raise InputError(f'modality says "{modality}", but a part is missing', fix="fetch the file again")
    return text, image, modality


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[Path, int, dict[str, Any]]]:
    """Yield (file, row from 1, record), a batch in memory at a time."""
    try:
        file = pq.ParquetFile(path)
        missing = [column for column in columns if column not in file.schema_arrow.names]
        if missing:
            raise InputError(f"lacks the column {', '.join(missing)}", file=path, fix="fetch an M-BEIR mirror's file")
        row = 0
        for batch in file.iter_batches(batch_size=BATCH):
            for record in batch.to_pylist():
                row += 1
                yield path, row, record
    except (pa.ArrowException, OSError) as broken:
        raise InputError(f"is not a readable Parquet file: {broken}", file=path, fix="fetch it again") from None


def _find_files(root: Path) -> dict[tuple[str, str], list[Path]]:
    """Group the files by (kind, split); the split is "" where the path names none, and `test` for such queries."""
    found: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(root.rglob("*.parquet")):
        words = re.findall("[a-z]+", str(path.relative_to(root)).lower())
        kind = next((KINDS[word] for word in words if word in KINDS), None)
        split = next((SPLIT_WORDS[word] for word in reversed(words) if word in SPLIT_WORDS), "")
        if kind == "query":
            split = split or "test"
        if kind:
            found[kind, split].append(path)
    for kind in ("corpus", "query", "qrels"):
        if not any(kind == other for other, _ in found):
            raise InputError(f"has no {kind}-*.parquet", file=root, fix="fetch corpus, query and qrels of the mirror")
    return found


def _task_of_folder(root: Path) -> Task:
    name = root.resolve().name.lower()
    for task in MBEIR_TASKS:
        if name.endswith(task.name):
            return task
    raise InputError("does not say which task it holds", file=root, fix="name it, e.g. --task cirr_task7")
