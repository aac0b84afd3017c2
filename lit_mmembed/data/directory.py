"""A data directory: the shard sets, qrels, pools and instructions of a benchmark. docs/design.md shows its files."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lit_mmembed.data.reader import ShardReader
from lit_mmembed.data.shards import MANIFEST_FILE, SCHEMA
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json
from lit_mmembed.types import Modality, Task

if TYPE_CHECKING:
    import numpy as np

QRELS_FOLDER = "qrels"
POOLS_FOLDER = "pools"
REPEATS_FOLDER = "repeats"
INSTRUCTIONS_FILE = "instructions.tsv"
SKIPPED_FILE = "skipped.jsonl"


class DataDirectory:
    """Opens what `mmembed shard` has made; every part is read when it is first asked for."""

    def __init__(self, path: str | Path, *, on_bad_sample: Literal["raise", "skip"] = "raise") -> None:
        self.path = Path(path)
        self.on_bad_sample = on_bad_sample
        if not (self.path / MANIFEST_FILE).exists():
            raise InputError("is not a data directory", file=self.path, fix="make it with `mmembed shard`")
        self.manifest: dict[str, Any] = read_json(self.path / MANIFEST_FILE)
        if self.manifest.get("schema") != SCHEMA or "tasks" not in self.manifest:
            raise InputError("is not this version's data directory", file=self.path, fix="shard the data again")
        self.tasks = tuple(task_from_row(row) for row in self.manifest["tasks"])

    @property
    def name(self) -> str:
        """The benchmark's name."""
        return self.manifest["name"]

    @property
    def hash(self) -> str:
        """Content hash of everything in the directory: the "data hash" of results."""
        return self.manifest["hash"]

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that have queries."""
        return tuple(sorted(part.partition("/")[2] for part in self.manifest["parts"] if part.startswith("queries/")))

    def task(self, name: str) -> Task:
        """The task of this name.

        Raises:
            InputError: the directory has no such task.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise InputError(f"has no task {name!r}", file=self.path, fix=f"one of {[task.name for task in self.tasks]}")

    def queries(self, split: str) -> ShardReader:
        """The queries of a split, all tasks together."""
        return self._part("queries", split)

    def candidates(self, split: str) -> ShardReader:
        """The documents of a split: its global pool."""
        return self._part("candidates", split)

    def qrels_path(self, split: str) -> Path:
        """M-BEIR's five columns: qid 0 did relevance task_id."""
        return self.path / QRELS_FOLDER / f"{split}.txt"

    def pools(self, split: str) -> dict[str, np.ndarray]:
        """Rows of each task's local pool among the documents of a split."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.path / POOLS_FOLDER / f"{split}.parquet", columns=["pool", "row"])
        pool, row = table["pool"].to_numpy(), table["row"].to_numpy()
        return {task.name: row[pool == task.name] for task in self.tasks}

    def repeats(self, split: str) -> np.ndarray | None:
        """[n] how often an epoch has each query of a split, where the source says so (M-BEIR's upsampled union)."""
        path = self.path / REPEATS_FOLDER / f"{split}.parquet"
        if not path.exists():
            return None
        import numpy as np
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        reader = self.queries(split)
        counts = np.ones(len(reader), dtype=np.int64)
        for qid, count in zip(table["qid"].to_pylist(), table["count"].to_pylist(), strict=True):
            counts[reader.row_of(qid)] = count
        return counts

    @cached_property
    def instructions_path(self) -> Path | None:
        """The instruction file, if there is one."""
        path = self.path / INSTRUCTIONS_FILE
        return path if path.exists() else None

    def _part(self, side: str, split: str) -> ShardReader:
        part = f"{side}/{split}"
        if part not in self._readers:
            if part not in self.manifest["parts"]:
                raise InputError(f"has no {part}", file=self.path, fix=f"it has {sorted(self.manifest['parts'])}")
            self._readers[part] = ShardReader(self.path / side / split, on_bad_sample=self.on_bad_sample)
        return self._readers[part]

    @cached_property
    def _readers(self) -> dict[str, ShardReader]:
        return {}


def task_row(task: Task) -> dict[str, Any]:
    """A task as a row of a manifest or of `tasks.json`."""
    return {name: value if isinstance(value, int) else str(value) for name, value in dataclasses.asdict(task).items()}


def task_from_row(row: dict[str, Any], *, file: Path | None = None) -> Task:
    """Read a task back; InputError names what is missing or unknown."""
    try:
        modalities = {side: Modality.parse(row[side]) for side in ("query_modality", "candidate_modality")}
        return Task(**{**row, **modalities})
    except (KeyError, TypeError) as wrong:
        fields = [field.name for field in dataclasses.fields(Task)]
        raise InputError(f"a task is not complete: {wrong}", file=file, record=str(row), fix=f"give {fields}") from None
