"""M-BEIR in its published layout, or anything laid out like it (`tasks.json` beside the folders names its own rows).

Two passes over the JSON: the first checks every record and notes where it lies, the second reads the images, in their
own order where they are streamed from the archive, and yields samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from lit_mmembed.data.building import Qrel
from lit_mmembed.data.images import check_image
from lit_mmembed.data.sources.base import Item, Pools, Qrels, bad_sample, lines, parse_object
from lit_mmembed.data.sources.mbeir_images import image_archive, read_image, stream_images
from lit_mmembed.data.sources.mbeir_layout import MBeirLayout, ValPool
from lit_mmembed.data.sources.mbeir_records import Draft, dataset_of, parse_candidate, parse_query
from lit_mmembed.data.sources.mbeir_rows import NO_IMAGE, Rows
from lit_mmembed.data.sources.mbeir_scan import SplitScan
from lit_mmembed.data.tasks import task_by_name
from lit_mmembed.errors import InputError
from lit_mmembed.types import Task

LICENCES = ("M-BEIR: MIT; texts and images stay under the licences of the data sets they come from",)
LICENCE_FILE = "licences.txt"


class MBeirSource:
    """Reads M-BEIR's folder.

    Args:
        root: The folder with query/, cand_pool/, qrels/, and mbeir_images/ or mbeir_images.tar.gz (also in parts).
        tasks: Names of the rows to read, e.g. ("cirr_task7",); None reads all. The pool is then the selected rows'
            local pools, and what their queries name as positives.
        splits: Those of train, val and test to read; None reads what is there.
        val_pool: `union`: M-BEIR's own validation pool, the documents that validation queries name; `local`: its local
            pools together, as many documents as the test pool has.
    """

    def __init__(
        self,
        root: Path,
        tasks: Sequence[str] | None = None,
        splits: Sequence[str] | None = None,
        val_pool: ValPool = "union",
    ) -> None:
        self.root = Path(root)
        self._layout = MBeirLayout(self.root, splits, val_pool=val_pool)
        self._known = self._layout.tasks()
        wanted = {task_by_name(name, self._known) for name in tasks} if tasks is not None else set(self._known)
        self.tasks: tuple[Task, ...] = tuple(task for task in self._known if task in wanted)
        self.name = self.root.resolve().name
        self.instructions_path = self._layout.instructions(self.tasks)

    def items(self) -> Iterator[Item]:
        """Yield damaged records, then samples without image, then the others as their images come."""
        for scan in self._scans.values():
            yield from scan.bad
        parts = [rows for scan in self._scans.values() for rows in (scan.candidates, scan.queries)]
        for rows in parts:
            yield from self._without_image(rows)
        archive = [] if (self.root / "mbeir_images").is_dir() else image_archive(self.root)
        if archive:
            yield from self._streamed(parts, archive)
            return
        for rows in parts:
            yield from self._from_folder(rows)

    def qrels(self) -> Qrels:
        """Return the lines of qrels/, or what the queries name as positives where a split has no such files."""
        return {split: self._split_qrels(split) for split in self._scans if len(self._scans[split].queries)}

    def pools(self) -> Pools:
        """Return the local pools from cand_pool/local; a row without a file has the documents that fit it."""
        return {split: {task.name: self._pool(split, task) for task in self.tasks} for split in self._scans}

    def repeats(self) -> Mapping[str, Mapping[str, int]]:
        """Return how often the upsampled union has a query."""
        return {split: scan.repeats for split, scan in self._scans.items() if scan.repeats}

    def licences(self) -> tuple[str, ...]:
        """Return the lines of `licences.txt`, or M-BEIR's own."""
        path = self.root / LICENCE_FILE
        return tuple(path.read_text(encoding="utf-8").split("\n")[:-1]) if path.exists() else LICENCES

    @cached_property
    def _scans(self) -> dict[str, SplitScan]:
        return {
            split: SplitScan(
                split,
                self._layout.query_files(split),
                self._layout.candidate_files(split),
                tasks=self._known,
                selected=[task.name for task in self.tasks],
            )
            for split in self._layout.splits
        }

    def _without_image(self, rows: Rows) -> Iterator[Item]:
        for _, draft in self._drafts(rows, np.flatnonzero(rows.column("image") == NO_IMAGE)):
            yield rows.part, draft.sample

    def _from_folder(self, rows: Rows) -> Iterator[Item]:
        for row, draft in self._drafts(rows, np.flatnonzero(rows.column("image") != NO_IMAGE)):
            assert draft.image_path is not None
            try:
                yield _with_image(rows, row, draft, read_image(self.root, draft.image_path))
            except InputError as wrong:
                yield bad_sample(rows.part, rows.place(row), draft.sample.id, wrong)

    def _streamed(self, parts: Sequence[Rows], archive: Sequence[Path]) -> Iterator[Item]:
        """One pass over the archive: each image goes to every sample of every part that has it."""
        wanted = [_by_image(rows) for rows in parts]
        names = {int(name) for image, _ in wanted for name in np.unique(image)}
        missing = set(names)
        for name, content in stream_images(archive, names):
            missing.discard(name)
            for rows, (image, order) in zip(parts, wanted, strict=True):
                first, last = np.searchsorted(image, [name, name + 1])
                for row, draft in self._drafts(rows, order[first:last]) if first < last else ():
                    yield _with_image(rows, row, draft, content)
        lost = np.fromiter(missing, dtype=np.int64)
        for rows in parts:
            for row, draft in self._drafts(rows, np.flatnonzero(np.isin(rows.column("image"), lost))):
                wrong = InputError(f"image {draft.image_path} is not in the archive", fix="fetch every part again")
                yield bad_sample(rows.part, rows.place(row), draft.sample.id, wrong)

    def _drafts(self, rows: Rows, chosen: np.ndarray) -> Iterator[tuple[int, Draft]]:
        side, _, split = rows.part.partition("/")
        for row, record in rows.read(chosen):
            if side == "candidates":
                yield row, parse_candidate(record)
            else:
                yield row, parse_query(record, self._known, self._scans[split].index.modality_of)

    def _split_qrels(self, split: str) -> Iterator[Qrel]:
        files = self._layout.qrels_files(split)
        if not files:
            tasks = {task.name: task.mbeir_id for task in self.tasks}
            scan = self._scans[split]
            for _, draft in self._drafts(scan.queries, np.arange(len(scan.queries))):
                for did in draft.sample.positives:
                    yield draft.sample.id, did, 1, tasks[str(draft.sample.task)]
        selected = {(task.dataset_id, task.mbeir_id) for task in self.tasks}
        for path in files:
            for line in lines(path):
                qrel = _parse_qrel(line.content, f"{path}:{line.number}")
                if self.tasks == self._known or (dataset_of(qrel[0]), qrel[3]) in selected:
                    yield qrel

    def _pool(self, split: str, task: Task) -> Iterator[str]:
        path = self._layout.local_pool(split, task)
        if path is not None:
            for line in lines(path):
                yield str(parse_object(line.content).get("did"))
            return
        rows = self._scans[split].candidates
        fits = (rows.column("dataset") == task.dataset_id) & (rows.column("modality") == task.candidate_modality.code)
        for _, record in rows.read(np.flatnonzero(fits)):
            yield record["did"]


def _with_image(rows: Rows, row: int, draft: Draft, content: bytes) -> Item:
    try:
        check_image(content)
    except InputError as wrong:
        problem = f"{draft.image_path}: {wrong.problem}"
        return bad_sample(rows.part, rows.place(row), draft.sample.id, InputError(problem, fix=wrong.fix))
    return rows.part, dataclasses.replace(draft.sample, image=content)


def _by_image(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Sort the rows that have an image by its name: (names [m], rows [m])."""
    image = rows.column("image")
    order = np.argsort(image, kind="stable")
    order = order[image[order] != NO_IMAGE]
    return image[order], order


def _parse_qrel(line: bytes, place: str) -> Qrel:
    try:
        qid, _, did, relevance, task_id = line.decode().split()
        return qid, did, int(relevance), int(task_id)
    except ValueError:
        fix = "write five columns: qid 0 did relevance task_id"
        raise InputError("is no line of M-BEIR's qrels", file=place, fix=fix) from None
