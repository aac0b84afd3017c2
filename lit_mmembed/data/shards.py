"""Writing a shard set: deterministic WebDataset tars with an index of where each sample lies and its checksum."""

from __future__ import annotations

import hashlib
import os
import zlib
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from lit_mmembed.data.images import check_image
from lit_mmembed.data.spelling import check_id, printable
from lit_mmembed.data.tar import END, sample_span
from lit_mmembed.errors import InputError
from lit_mmembed.files import content_hash, file_hash, write_json
from lit_mmembed.types import Modality, Sample, stable_id

SCHEMA = 1
SHARD_BYTES = 1 << 30
INDEX_FILE = "index.arrow"
MANIFEST_FILE = "manifest.json"
NO_TASK = -1


class ShardSetWriter:
    """Writes samples in the order given; `finish` writes the index and the manifest, without which nothing reads it.

    Args:
        folder: Where the shards go; it is made.
        tasks: Names of the directory's tasks: a query's task is stored as its place among them.
        shard_bytes: A new shard begins where the old one would grow beyond this.
    """

    def __init__(self, folder: str | Path, *, tasks: Sequence[str] = (), shard_bytes: int = SHARD_BYTES) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shard_bytes = shard_bytes
        self._tasks = {name: index for index, name in enumerate(tasks)}
        self._columns = {name: array(code) for name, code in _COLUMNS.items()}
        self._keys: list[str] = []
        self._seen: set[int] = set()
        self._shards: list[dict[str, Any]] = []
        self._stream: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._offset = 0

    def add(self, sample: Sample) -> None:
        """Append one sample.

        Raises:
            InputError: its id came before or has white space in it, it has neither text nor image, its modality says
                otherwise, its task is unknown, its text is no Unicode, or its image is unreadable or too large.
        """
        extension = self._check(sample)
        name = stable_id(sample.id)
        if name in self._seen:
            raise InputError("duplicate id", record=sample.id, fix="give every sample of a split its own id")
        try:
            span = sample_span(sample, extension)
        except UnicodeEncodeError:
            fix = "correct its text, source, positives or negatives"
            raise InputError("has half a character (a surrogate)", record=sample.id, fix=fix) from None
        self._make_room(len(span))
        assert self._stream is not None
        self._stream.write(span)
        self._digest.update(span)
        self._seen.add(name)
        self._keys.append(sample.id)
        task = NO_TASK if sample.task is None else self._tasks[sample.task]
        row = (name, len(self._shards), self._offset, len(span), zlib.crc32(span), sample.modality.code, task)
        for column, value in zip(self._columns.values(), (*row, len(sample.text or "")), strict=True):
            column.append(value)
        self._offset += len(span)

    def finish(self) -> str:
        """Write index and manifest; return the shard set's hash."""
        self._close_shard()
        index = self.folder / INDEX_FILE
        _write_index(index, self._keys, self._columns)
        content = {
            "schema": SCHEMA,
            "count": len(self._keys),
            "bytes": sum(shard["bytes"] for shard in self._shards),
            "shards": self._shards,
            "index": {"bytes": index.stat().st_size, "sha256": file_hash(index)},
        }
        name = content_hash(content)
        write_json(self.folder / MANIFEST_FILE, {**content, "hash": name})
        return name

    def abandon(self) -> None:
        """Close the open file; the caller removes the folder."""
        if self._stream is not None:
            self._stream.close()

    def _check(self, sample: Sample) -> str | None:
        if not sample.id:
            raise InputError("has an empty id", record=repr(sample.text), fix="give every sample an id")
        try:
            check_id(sample.id)
            modality = Modality.of(text=bool(sample.text), image=sample.image is not None)
        except InputError as wrong:
            raise InputError(wrong.problem, record=printable(sample.id), fix=wrong.fix) from None
        if modality is not sample.modality:
            raise InputError(
                f'says modality "{sample.modality}" and holds "{modality}"', record=sample.id, fix="correct either"
            )
        if sample.task is not None and sample.task not in self._tasks:
            raise InputError(f"task {sample.task!r} is unknown", record=sample.id, fix="list it among the tasks")
        return None if sample.image is None else check_image(sample.image, record=sample.id)

    def _make_room(self, size: int) -> None:
        if self._stream is not None and self._offset + size > self.shard_bytes:
            self._close_shard()
        if self._stream is None:
            self._stream = (self.folder / _shard_name(len(self._shards))).open("wb")
            self._digest = hashlib.sha256()
            self._offset = 0

    def _close_shard(self) -> None:
        if self._stream is None:
            return
        self._stream.write(END)
        self._digest.update(END)
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._stream = None
        shard = {"name": _shard_name(len(self._shards)), "bytes": self._offset + len(END)}
        self._shards.append({**shard, "sha256": self._digest.hexdigest()})


_COLUMNS = {
    "hash": "q",
    "shard": "i",
    "offset": "q",
    "size": "i",
    "checksum": "I",
    "modality": "b",
    "task": "h",
    "tokens": "i",
}
"""Columns of the index beside `key`, with their array codes. `hash` is `types.stable_id` of the key."""


def write_shard_set(folder: str | Path, samples: Sequence[Sample], *, tasks: Sequence[str] = ()) -> str:
    """Write a whole shard set at once; return its hash."""
    writer = ShardSetWriter(folder, tasks=tasks)
    for sample in samples:
        writer.add(sample)
    return writer.finish()


def _shard_name(number: int) -> str:
    return f"{number:06d}.tar"


def _write_index(path: Path, keys: list[str], columns: dict[str, array]) -> None:
    import numpy as np
    import pyarrow as pa

    arrays = {name: pa.array(np.frombuffer(column, dtype=column.typecode)) for name, column in columns.items()}
    table = pa.table({"key": pa.array(keys, pa.large_string()), **arrays})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, len(keys)))
