"""Which files of M-BEIR's published folder belong to which split and row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lit_mmembed.data.instructions import MBEIR_INSTRUCTIONS
from lit_mmembed.data.sources.base import SPLITS, read_tasks
from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.errors import InputError
from lit_mmembed.types import Task

ValPool = Literal["union", "local"]
UPSAMPLED = "query/union_train/mbeir_union_up_train.jsonl"
"""The default training file: all datasets in one, the small ones repeated."""


class MBeirLayout:
    """Finds files by what is there; the names are those of the data set TIGER-Lab/M-BEIR."""

    def __init__(self, root: Path, splits: Sequence[str] | None = None, *, val_pool: ValPool = "union") -> None:
        self.root = root
        self._val_pool = val_pool
        self.splits = tuple(split for split in SPLITS if self.query_files(split) and split in (splits or SPLITS))
        if lacking := [split for split in splits or () if split not in self.splits]:
            raise InputError(f"has no queries of {', '.join(lacking)}", file=root, fix="leave them out of --splits")
        if not self.splits:
            fix = "give the folder that holds query/, cand_pool/ and qrels/"
            raise InputError("has no queries in M-BEIR's layout", file=root, fix=fix)

    def query_files(self, split: str) -> list[Path]:
        """Return the split's query files: for training the upsampled union, if it is there."""
        upsampled = self.root / UPSAMPLED
        if split == "train" and upsampled.exists():
            return [upsampled]
        return sorted((self.root / "query" / split).glob("*.jsonl")) or sorted(
            (self.root / f"query/union_{split}").glob("*.jsonl")
        )

    def candidate_files(self, split: str) -> list[Path]:
        """Return the split's global pool: the union file, or else the local pools that make it up."""
        union = self._union(split)
        files = [union] if self._has_union(split) else self._local_files(split)
        if not files and union.exists():
            fix = "download cand_pool/local, or leave --val-pool local out"
            raise InputError("has no local pools", file=self.root / "cand_pool/local", fix=fix)
        if not files:
            raise InputError("is missing, and so are local pools", file=union, fix="download the pool of this split")
        return files

    def local_pool(self, split: str, task: Task) -> Path | None:
        """Return the file of a row's local pool, if there is one for this split.

        Most rows have one pool for all evaluation; MSCOCO has one per split. M-BEIR's union validation pool holds only
        what validation queries name, so the pool for all evaluation does not describe it.
        """
        local = self.root / "cand_pool/local"
        own = local / f"mbeir_{task.name}_{split}_cand_pool.jsonl"
        if own.exists():
            return own
        shared = local / f"mbeir_{task.name}_cand_pool.jsonl"
        fits = split == "test" or not self._has_union(split)
        return shared if fits and shared.exists() else None

    def qrels_files(self, split: str) -> list[Path]:
        """Return the split's qrels files."""
        return sorted((self.root / "qrels" / split).glob("*.txt"))

    def tasks(self) -> tuple[Task, ...]:
        """Return the rows of `tasks.json` beside the folders, or else M-BEIR's table."""
        path = self.root / "tasks.json"
        return read_tasks(path) if path.exists() else MBEIR_TASKS

    def instructions(self, tasks: Sequence[Task]) -> Path | None:
        """Return the folder's instruction file, or M-BEIR's own for M-BEIR's own rows."""
        path = self.root / "instructions/query_instructions.tsv"
        if path.exists():
            return path
        return MBEIR_INSTRUCTIONS if set(tasks) <= set(MBEIR_TASKS) else None

    def _has_union(self, split: str) -> bool:
        """Whether a split's pool is the union file, and not its local pools together."""
        return self._union(split).exists() and not (split == "val" and self._val_pool == "local")

    def _union(self, split: str) -> Path:
        return self.root / f"cand_pool/global/mbeir_union_{split}_cand_pool.jsonl"

    def _local_files(self, split: str) -> list[Path]:
        files = sorted((self.root / "cand_pool/local").glob("*_cand_pool.jsonl"))
        own = [file for file in files if file.name.endswith(f"_{split}_cand_pool.jsonl")]
        if split == "train" and own:
            return own
        every = tuple(f"_{split}_cand_pool.jsonl" for split in SPLITS)
        return own + [file for file in files if not file.name.endswith(every)]
