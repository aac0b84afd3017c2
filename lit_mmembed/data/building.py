"""Making a data directory from samples in any order: shard sets, qrels, local pools, instructions, one manifest."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lit_mmembed.data.directory import (
    INSTRUCTIONS_FILE,
    POOLS_FOLDER,
    QRELS_FOLDER,
    REPEATS_FOLDER,
    SKIPPED_FILE,
    task_row,
)
from lit_mmembed.data.reader import ShardReader
from lit_mmembed.data.shards import MANIFEST_FILE, SCHEMA, SHARD_BYTES, ShardSetWriter
from lit_mmembed.data.skipping import without_documents
from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_folder, content_hash, file_hash, write_json
from lit_mmembed.types import Sample, Task

if TYPE_CHECKING:
    import numpy as np

OnBadSample = Literal["raise", "skip"]
Qrel = tuple[str, str, int, int]
"""(qid, did, relevance, M-BEIR's task number)."""


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample that its source could not read: raised or listed, as the user asks."""

    part: str
    id: str
    error: InputError


def write_directory(
    out: str | Path,
    items: Iterable[tuple[str, Sample] | BadSample],
    *,
    name: str,
    source: str,
    tasks: Sequence[Task],
    qrels: Mapping[str, Iterable[Qrel]],
    instructions_tsv: str | Path | None = None,
    pools: Mapping[str, Mapping[str, Iterable[str]]] | None = None,
    repeats: Mapping[str, Mapping[str, int]] | None = None,
    licences: Sequence[str] = (),
    on_bad_sample: OnBadSample = "raise",
    shard_bytes: int = SHARD_BYTES,
) -> Path:
    """Write a data directory; nothing appears under `out` unless all of it is right.

    Args:
        out: The directory to make; it must not exist.
        items: ("queries/train" | "candidates/test" | ..., Sample) in any order.
        name: The benchmark's name.
        source: Where it comes from, for the manifest.
        tasks: The task rows, in reporting order.
        qrels: Per split. Every id must be among the samples.
        instructions_tsv: M-BEIR's instruction file, copied.
        pools: Per split and task name, the ids of the local pool; None derives them: documents whose id begins with the
            task's dataset number and that have the modality asked for.
        repeats: Per split, how often an epoch has a query, where not once.
        licences: Named in the manifest.
        on_bad_sample: `raise`, or `skip`: list damaged samples in skipped.jsonl and go on without them.
        shard_bytes: Size of a shard.
    """
    out = Path(out)
    with atomic_folder(out) as folder:
        parts = _Parts(folder, [task.name for task in tasks], on_bad_sample, shard_bytes)
        hashes = parts.write(items)
        readers = {part: ShardReader(folder / part) for part in sorted(hashes)}
        side_files = _write_qrels(folder, qrels, readers, lost=parts.lost)
        side_files += _write_pools(folder, pools, readers, tasks)
        side_files += _write_repeats(folder, repeats or {}, readers)
        if instructions_tsv is not None:
            shutil.copyfile(instructions_tsv, folder / INSTRUCTIONS_FILE)
            side_files.append(INSTRUCTIONS_FILE)
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "name": name,
            "tasks": [task_row(task) for task in tasks],
            "parts": hashes,
            "files": {file: file_hash(folder / file) for file in sorted(side_files)},
        }
        about: dict[str, Any] = {"source": source, "counts": {part: len(reader) for part, reader in readers.items()}}
        about |= {"licences": list(licences), "skipped": len(parts.skipped)}
        write_json(folder / MANIFEST_FILE, {**content, **about, "hash": content_hash(content)})
    return out


class _Parts:
    """The open shard set writers, one per part, and what was skipped."""

    def __init__(self, folder: Path, tasks: list[str], on_bad_sample: OnBadSample, shard_bytes: int) -> None:
        self.folder = folder
        self.tasks = tasks
        self.on_bad_sample = on_bad_sample
        self.shard_bytes = shard_bytes
        self.skipped: list[dict[str, str]] = []
        self.lost: defaultdict[str, set[str]] = defaultdict(set)
        """Part -> ids that were skipped; one that had another row is there all the same."""
        self._writers: dict[str, ShardSetWriter] = {}

    def write(self, items: Iterable[tuple[str, Sample] | BadSample]) -> dict[str, str]:
        """Write every item; return the hash of each part."""
        try:
            for item in items:
                if isinstance(item, BadSample):
                    self._reject(item.part, item.id, item.error)
                else:
                    self._add(*item)
        except BaseException:
            for writer in self._writers.values():
                writer.abandon()
            raise
        hashes = {part: self._writers[part].finish() for part in sorted(self._writers)}
        self._forget_lost_documents(hashes)
        if self.skipped:
            lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in self.skipped]
            (self.folder / SKIPPED_FILE).write_text("".join(lines), encoding="utf-8")
        return hashes

    def _forget_lost_documents(self, hashes: dict[str, str]) -> None:
        """Write queries again that name skipped documents; one that has no other positive is skipped too."""
        for part in [part for part in hashes if part.startswith("queries/")]:
            documents = f"candidates/{part.partition('/')[2]}"
            if not self.lost[documents]:
                continue
            there = ShardReader(self.folder / documents) if documents in hashes else None
            lost = frozenset(did for did in self.lost[documents] if there is None or there.find(did) is None)
            written = without_documents(self.folder, part, lost, tasks=self.tasks, shard_bytes=self.shard_bytes)
            if written is None:
                continue
            hashes[part] = written.hash
            for qid in written.left_out:
                self._reject(part, qid, InputError("all its positives were skipped", fix="mend one of them"))

    def _add(self, part: str, sample: Sample) -> None:
        if part not in self._writers:
            self._writers[part] = ShardSetWriter(self.folder / part, tasks=self.tasks, shard_bytes=self.shard_bytes)
        try:
            if part == "queries/train" and not sample.positives:
                raise InputError("has no positive", record=sample.id, fix="give it one, or leave the query out")
            self._writers[part].add(sample)
        except InputError as bad:
            self._reject(part, sample.id, bad)

    def _reject(self, part: str, sample_id: str, error: InputError) -> None:
        if self.on_bad_sample == "raise":
            file = error.file or part
            raise InputError(error.problem, file=file, record=error.record or sample_id, fix=error.fix) from None
        self.skipped.append({"part": part, "id": sample_id, "error": str(error)})
        if error.problem != "duplicate id":
            self.lost[part].add(sample_id)


def _write_qrels(
    folder: Path,
    qrels: Mapping[str, Iterable[Qrel]],
    readers: Mapping[str, ShardReader],
    *,
    lost: Mapping[str, set[str]],
) -> list[str]:
    written = []
    (folder / QRELS_FOLDER).mkdir()
    for split in sorted(qrels):
        name = f"{QRELS_FOLDER}/{split}.txt"
        with (folder / name).open("w", encoding="utf-8") as stream:
            for qid, did, relevance, task in qrels[split]:
                sides = ((f"queries/{split}", qid, "query"), (f"candidates/{split}", did, "document"))
                missing = next((side for side in sides if not _has(readers, *side[:2])), None)
                if missing is None:
                    stream.write(f"{qid} 0 {did} {relevance} {task}\n")
                elif missing[1] not in lost.get(missing[0], ()):
                    fix = "give the sample, or remove the line"
                    raise InputError(f"names an unknown {missing[2]}", file=name, record=f"{qid} {did}", fix=fix)
        written.append(name)
    return written


def _has(readers: Mapping[str, ShardReader], part: str, sample_id: str) -> bool:
    return part in readers and readers[part].find(sample_id) is not None


def _write_pools(
    folder: Path,
    pools: Mapping[str, Mapping[str, Iterable[str]]] | None,
    readers: Mapping[str, ShardReader],
    tasks: Sequence[Task],
) -> list[str]:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / POOLS_FOLDER).mkdir()
    written = []
    for split in (part.partition("/")[2] for part in readers if part.startswith("candidates/")):
        reader = readers[f"candidates/{split}"]
        if pools is not None and split in pools:
            rows = {name: reader.rows_of(list(dict.fromkeys(dids))) for name, dids in pools[split].items()}
        else:
            rows = _derived_pools(reader, tasks)
        row = np.concatenate([*rows.values(), np.zeros(0, dtype=np.int64)])
        pool = np.repeat(np.array(list(rows), dtype=object), [len(members) for members in rows.values()])
        name = f"{POOLS_FOLDER}/{split}.parquet"
        columns = {"pool": pa.array(pool, pa.string()), "did": pa.array(reader.ids[row], pa.string()), "row": row}
        pq.write_table(pa.table(columns), folder / name)
        written.append(name)
    return written


def _derived_pools(reader: ShardReader, tasks: Sequence[Task]) -> dict[str, np.ndarray]:
    import numpy as np

    dataset = np.array([did.partition(":")[0] for did in reader.ids], dtype=object)
    return {
        task.name: np.flatnonzero((dataset == str(task.dataset_id)) & (reader.modality == task.candidate_modality.code))
        for task in tasks
    }


def _write_repeats(
    folder: Path, repeats: Mapping[str, Mapping[str, int]], readers: Mapping[str, ShardReader]
) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = []
    for split in sorted(repeats):
        part = f"queries/{split}"
        counts = {qid: n for qid, n in repeats[split].items() if n != 1 and _has(readers, part, qid)}
        if not counts:
            continue
        name = f"{REPEATS_FOLDER}/{split}.parquet"
        (folder / REPEATS_FOLDER).mkdir(exist_ok=True)
        pq.write_table(pa.table({"qid": list(counts), "count": list(counts.values())}), folder / name)
        written.append(name)
    return written
