"""Embeddings on disk: a memory-mappable matrix with ids and modalities, which a killed run goes on filling.

While it is written it is `STORE.partial`, with a journal of the rows that are safely on disk; several processes may
fill the same one. It takes its name when every row is there.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lit_mmembed.errors import InputError
from lit_mmembed.files import PARTIAL, content_hash, file_hash, read_json, write_json

SCHEMA = 1
VECTORS_FILE = "vectors.npy"
ROWS_FILE = "rows.parquet"
MANIFEST_FILE = "manifest.json"
IDENTITY_FILE = "identity.json"
SECONDS_BETWEEN_SYNCS = 5.0
FIX = "encode again"


class StoreWriter:
    """Fills a store row by row, in any order, from any number of processes.

    Args:
        path: The store to make.
        ids: [n] ids, one per row.
        modality: [n] modality codes.
        task: [n] task index, -1 for documents.
        dimension: Length of a vector.
        dtype: How vectors are kept.
        manifest: What made them: weights_hash, data_hash, side, split, prompts, tasks, record. A partial store of
            anything else is discarded.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        ids: Sequence[str] | np.ndarray,
        modality: np.ndarray,
        task: np.ndarray,
        dimension: int,
        dtype: Literal["float16", "float32"] = "float16",
        manifest: Mapping[str, Any],
    ) -> None:
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + PARTIAL)
        self.ids = np.asarray(ids, dtype=object)
        self.manifest = {**manifest, "dtype": dtype, "dimension": dimension, "count": len(self.ids), "schema": SCHEMA}
        identity = content_hash({"manifest": self.manifest, "ids": [str(name) for name in self.ids]})
        if self.path.exists():
            raise InputError("exists already", file=self.path, fix="name a new store, or remove this one first")
        rows = {"id": pa.array(self.ids, pa.string()), "modality": np.asarray(modality, np.int8)}
        self._prepare(identity, pa.table({**rows, "task": np.asarray(task, np.int16)}))
        self._vectors = np.load(self.partial / VECTORS_FILE, mmap_mode="r+")
        # A name of its own: after a crash a new process may have the old one's number, and the old journal may be torn.
        self._journal = (self.partial / f"journal.{os.getpid()}.{time.time_ns()}").open("ab")
        self._unsynced: list[np.ndarray] = []
        self._synced_at = time.monotonic()

    def missing_rows(self) -> np.ndarray:
        """Rows [m] int64 that no process has safely written."""
        written = np.zeros(len(self.ids), dtype=bool)
        for journal in self.partial.glob("journal.*"):
            content = journal.read_bytes()
            written[np.frombuffer(content[: len(content) // 8 * 8], dtype=np.int64)] = True  # the last may be torn
        return np.flatnonzero(~written)

    def write(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Keep the vectors [n, d] of `rows` [n].

        Raises:
            InputError: a vector is not finite, or too large for float16.
        """
        with np.errstate(over="ignore"):
            vectors = np.asarray(vectors).astype(self._vectors.dtype)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            bad = self.ids[int(np.asarray(rows)[~finite][0])]
            raise InputError("the model's vector is not finite", file=self.path, record=bad, fix="check the weights")
        self._vectors[rows] = vectors
        self._unsynced.append(np.asarray(rows, dtype=np.int64))
        if time.monotonic() - self._synced_at > SECONDS_BETWEEN_SYNCS:
            self.flush()

    def flush(self) -> None:
        """Bring vectors to the disk, then say so in the journal."""
        if not self._unsynced:
            return
        self._vectors.flush()
        self._journal.write(np.concatenate(self._unsynced).tobytes())
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._unsynced = []
        self._synced_at = time.monotonic()

    def finish(self) -> None:
        """Give the store its name; one process calls it after all have flushed.

        Raises:
            InputError: a row was never written.
        """
        self.flush()
        missing = self.missing_rows()
        if len(missing):
            record = str(self.ids[int(missing[0])])
            raise InputError(f"{len(missing)} rows were not embedded", file=self.path, record=record, fix=FIX)
        digest = content_hash([file_hash(self.partial / name) for name in (VECTORS_FILE, ROWS_FILE)])
        write_json(self.partial / MANIFEST_FILE, {**self.manifest, "hash": digest})
        self._journal.close()
        self.partial.replace(self.path)
        for leftover in [*self.path.glob("journal.*"), self.path / IDENTITY_FILE]:
            leftover.unlink()  # only now: a run that is killed before has lost nothing

    def _prepare(self, identity: str, rows: pa.Table) -> None:
        """Open the partial store of this identity or make it; two processes may come at the same time."""
        while not _is_of(self.partial, identity):
            fresh = self.partial.with_name(f"{self.partial.name}.{os.getpid()}")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            shape = (len(self.ids), self.manifest["dimension"])
            try:
                np.lib.format.open_memmap(fresh / VECTORS_FILE, "w+", dtype=self.manifest["dtype"], shape=shape).flush()
                _reserve(fresh / VECTORS_FILE)
                pq.write_table(rows, fresh / ROWS_FILE)
                write_json(fresh / IDENTITY_FILE, identity)
            except BaseException:
                shutil.rmtree(fresh, ignore_errors=True)
                raise
            try:
                self._discard_other(identity)
                fresh.rename(self.partial)
            except OSError:  # another process was first
                shutil.rmtree(fresh, ignore_errors=True)

    def _discard_other(self, identity: str) -> None:
        """Move a partial store of another identity away and remove it; put it back if it was made just now.

        One of this identity is not moved: the process that made it may be opening its files.
        """
        if not self.partial.exists() or _is_of(self.partial, identity):
            return
        away = self.partial.with_name(f"{self.partial.name}.{os.getpid()}.old")
        self.partial.rename(away)
        if _is_of(away, identity):
            away.rename(self.partial)
        else:
            shutil.rmtree(away)


def _is_of(partial: Path, identity: str) -> bool:
    mark = partial / IDENTITY_FILE
    return mark.exists() and read_json(mark) == identity


def _reserve(file: Path) -> None:
    """Take the file's blocks from the disk now: a map that runs out of disk later kills the process (SIGBUS)."""
    if hasattr(os, "posix_fallocate") and file.stat().st_size:
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)


class Store:
    """A finished store."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / MANIFEST_FILE).exists():
            partial = self.path.with_name(self.path.name + PARTIAL)
            problem = "is not finished" if partial.exists() else "is not a store"
            raise InputError(problem, file=self.path, fix="run `mmembed encode`")
        self.manifest: dict[str, Any] = read_json(self.path / MANIFEST_FILE)
        if self.manifest.get("schema") != SCHEMA:
            problem = f"has schema {self.manifest.get('schema')} instead of {SCHEMA}"
            raise InputError(problem, file=self.path / MANIFEST_FILE, fix=FIX)
        self.vectors = self._mapped()
        self._rows = self._table()
        if len(self._rows) != len(self.vectors):
            raise InputError("ids and vectors differ in number", file=self.path, fix=FIX)

    def __len__(self) -> int:
        return len(self.vectors)

    @cached_property
    def ids(self) -> np.ndarray:
        """[n] object array of str."""
        return self._rows["id"].to_numpy()

    @cached_property
    def modality(self) -> np.ndarray:
        """[n] int8 modality codes."""
        return self._rows["modality"].to_numpy()

    @cached_property
    def task(self) -> np.ndarray:
        """[n] int16 task index, -1 for documents."""
        return self._rows["task"].to_numpy()

    def _mapped(self) -> np.ndarray:
        file = self.path / VECTORS_FILE
        try:
            vectors = np.load(file, mmap_mode="r")
        except (OSError, ValueError, EOFError) as broken:
            raise InputError(f"the vectors cannot be read: {broken}", file=file, fix=FIX) from None
        if vectors.shape != (self.manifest["count"], self.manifest["dimension"]):
            raise InputError(f"the vectors have shape {vectors.shape}", file=file, fix=FIX)
        return vectors

    def _table(self) -> pa.Table:
        file = self.path / ROWS_FILE
        try:
            return pq.read_table(file, columns=["id", "modality", "task"])
        except (OSError, pa.ArrowException) as broken:
            raise InputError(f"the ids cannot be read: {broken}", file=file, fix=FIX) from None


def check_same_weights(queries: Store, candidates: Store) -> None:
    """Refuse to compare vectors of different models.

    Raises:
        InputError: the stores' weights differ.
    """
    ours, theirs = (store.manifest.get("weights_hash") for store in (queries, candidates))
    if ours != theirs or len(queries.vectors.T) != len(candidates.vectors.T):
        raise InputError(
            f"was made by other weights ({str(theirs)[:12]}) than {queries.path} ({str(ours)[:12]})",
            file=candidates.path,
            fix="encode both with the same model",
        )
