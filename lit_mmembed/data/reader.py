"""Reading a shard set: memory-mapped, random access by row and by id, checksum verified on every read of a sample."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
import pyarrow as pa

from lit_mmembed.data.shards import INDEX_FILE, MANIFEST_FILE, SCHEMA
from lit_mmembed.data.tar import BLOCK, json_end, parse_span
from lit_mmembed.errors import InputError
from lit_mmembed.files import file_hash, read_json
from lit_mmembed.types import Sample, stable_id

FIX = "fetch or build the shard again; `mmembed shard --verify DIR` lists all damage"


class ShardReader:
    """A sequence of the samples of one shard set.

    It holds no sample in memory: opening costs the index (about 60 bytes a sample, memory-mapped). It can be pickled
    into worker processes, which open the files themselves.

    Args:
        folder: The shard set.
        on_bad_sample: `raise`: a missing or truncated shard is an error on opening; `skip`: only when one of its
            damaged samples is read.
    """

    def __init__(self, folder: str | Path, *, on_bad_sample: Literal["raise", "skip"] = "raise") -> None:
        self.folder = Path(folder)
        self.on_bad_sample = on_bad_sample
        self.manifest = read_manifest(self.folder)
        if on_bad_sample == "raise":
            for problem in size_problems(self.folder, self.manifest):
                raise problem

    def __len__(self) -> int:
        return int(self.manifest["count"])

    def __getitem__(self, row: int) -> Sample:
        """Read one sample; InputError names shard, key and offset if a single bit of it has changed."""
        shards, offsets, sizes, checksums = self._spans
        offset, size = offsets[row], sizes[row]
        span = self._map(shards[row])[offset : offset + size]
        if crc32(span) != checksums[row] or len(span) != size:
            raise self._damaged(row)
        return parse_span(span)

    def __iter__(self) -> Iterator[Sample]:
        return (self[row] for row in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "on_bad_sample": self.on_bad_sample, "manifest": self.manifest}

    @property
    def hash(self) -> str:
        """The shard set's content hash."""
        return self.manifest["hash"]

    @cached_property
    def ids(self) -> np.ndarray:
        """[n] object array of str."""
        return self._table["key"].to_numpy(zero_copy_only=False)

    @property
    def modality(self) -> np.ndarray:
        """[n] int8 modality codes."""
        return self._columns["modality"]

    @property
    def task(self) -> np.ndarray:
        """[n] int16: place among the directory's tasks, -1 for documents."""
        return self._columns["task"]

    @property
    def tokens(self) -> np.ndarray:
        """[n] int32: characters of the text, a stand-in for its tokens."""
        return self._columns["tokens"]

    def key(self, row: int) -> str:
        """The id at `row`, without reading the sample."""
        return self._table["key"][int(row)].as_py()

    def row_of(self, sample_id: str) -> int:
        """Find an id's row.

        Raises:
            InputError: no sample has this id.
        """
        row = self.find(sample_id)
        if row is None:
            raise InputError("no such id", file=self.folder, record=sample_id, fix="check which split it belongs to")
        return row

    def find(self, sample_id: str) -> int | None:
        """Find an id's row, or None."""
        order, hashes = self._by_hash
        name = stable_id(sample_id)
        place = int(np.searchsorted(hashes, name))
        while place < len(hashes) and hashes[place] == name:
            row = int(order[place])
            if self.key(row) == sample_id:
                return row
            place += 1
        return None

    def rows_of(self, sample_ids: Sequence[str]) -> np.ndarray:
        """Rows [m] int64 of the ids that are here, in their order; others are left out."""
        found = (self.find(sample_id) for sample_id in sample_ids)
        return np.array([row for row in found if row is not None], dtype=np.int64)

    def by_id(self, sample_id: str) -> Sample:
        """Read the sample of this id."""
        return self[self.row_of(sample_id)]

    def check(self, row: int) -> InputError | None:
        """Return what is wrong with the bytes of a row, or None."""
        try:
            self[row]
        except InputError as damaged:
            return damaged
        return None

    def spelling(self, word: str) -> int | None:
        """Return the first row whose text has this word (of ASCII), or None; only rows whose bytes have it are read."""
        needle = word.encode()
        for row, (shard, offset, size, _) in enumerate(zip(*self._spans, strict=True)):
            shards = self._map(shard)
            end = min(json_end(shards[offset : offset + BLOCK]), size)  # no image is read
            if needle in shards[offset : offset + end] and word in (self[row].text or ""):
                return row
        return None

    @cached_property
    def _table(self) -> pa.Table:
        path = self.folder / INDEX_FILE
        try:
            with pa.memory_map(str(path)) as source:
                return pa.ipc.open_file(source).read_all()
        except (OSError, pa.ArrowInvalid) as broken:
            raise InputError(f"the index cannot be read: {broken}", file=path, fix=FIX) from None

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        names = ("shard", "offset", "size", "checksum", "modality", "task", "tokens")
        return {name: self._table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in names}

    @cached_property
    def _spans(self) -> tuple[memoryview, ...]:
        """Shard, offset, size and checksum; a memoryview's items are plain ints, three times as fast as numpy's."""
        return tuple(memoryview(self._columns[name]) for name in ("shard", "offset", "size", "checksum"))  # type: ignore[arg-type]

    @cached_property
    def _by_hash(self) -> tuple[np.ndarray, np.ndarray]:
        hashes = self._table["hash"].combine_chunks().to_numpy(zero_copy_only=False)
        order = np.argsort(hashes, kind="stable")
        return order, hashes[order]

    @cached_property
    def _maps(self) -> dict[int, mmap.mmap | bytes]:
        return {}

    def _map(self, shard: int) -> mmap.mmap | bytes:
        found = self._maps.get(shard)
        if found is None:
            path = self.folder / self.manifest["shards"][shard]["name"]
            try:
                with path.open("rb") as stream:
                    found = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError):  # ValueError: an empty file cannot be mapped
                found = b""
            self._maps[shard] = found
        return found

    def _damaged(self, row: int) -> InputError:
        shard, offset = int(self._columns["shard"][row]), int(self._columns["offset"][row])
        path = self.folder / self.manifest["shards"][shard]["name"]
        size = path.stat().st_size if path.exists() else 0
        end = offset + int(self._columns["size"][row])
        problem = f"the shard ends at byte {size}" if size < end else "the checksum does not match"
        return InputError(f"damaged: {problem}", file=path, record=f"key {self.key(row)} at offset {offset}", fix=FIX)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a shard set's manifest and check that the index beside it is the one it names."""
    path = folder / MANIFEST_FILE
    if not path.exists():
        raise InputError(
            "is not a shard set: manifest.json is missing", file=folder, fix="make it with `mmembed shard`"
        )
    manifest = read_json(path)
    if manifest.get("schema") != SCHEMA:
        raise InputError(f"schema {manifest.get('schema')!r} is not {SCHEMA}", file=path, fix="shard the data again")
    index = folder / INDEX_FILE
    if not index.exists() or file_hash(index) != manifest["index"]["sha256"]:
        raise InputError("the index is missing or damaged", file=index, fix=FIX)
    return manifest


def size_problems(folder: Path, manifest: dict[str, Any]) -> Iterator[InputError]:
    """Yield an error for every shard that is missing or has another size than it was written with."""
    for shard in manifest["shards"]:
        path = folder / shard["name"]
        if not path.exists():
            yield InputError("the shard is missing", file=path, fix=FIX)
        elif path.stat().st_size != shard["bytes"]:
            problem = f"the shard has {path.stat().st_size} bytes instead of {shard['bytes']}"
            yield InputError(problem, file=path, fix=FIX)
