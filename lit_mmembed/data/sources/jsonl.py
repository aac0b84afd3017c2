"""Anybody's own texts and images as JSON lines; docs/data.md documents the files with an example."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lit_mmembed.data.building import BadSample, Qrel
from lit_mmembed.data.images import check_image
from lit_mmembed.data.sources.base import SPLITS, Item, Pools, Qrels, bad_sample, lines, parse_object, read_tasks
from lit_mmembed.data.sources.mbeir_images import read_image
from lit_mmembed.data.spelling import check_id, check_unicode
from lit_mmembed.data.tasks import task_by_name
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample, Task

Record = Mapping[str, Any]
FIELDS = {
    "queries": {"id", "text", "image", "split", "source", "task", "positives", "negatives"},
    "candidates": {"id", "text", "image", "split", "source", "tasks"},
}


class JsonlSource:
    """Reads queries.jsonl, candidates.jsonl, tasks.json and, if it is there, instructions.tsv.

    Args:
        root: The folder; its name is the benchmark's, and image paths are relative to it.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.name = self.root.resolve().name
        self.tasks: tuple[Task, ...] = read_tasks(self.root / "tasks.json")
        instructions = self.root / "instructions.tsv"
        self.instructions_path = instructions if instructions.exists() else None

    def items(self) -> Iterator[Item]:
        """Yield candidates, then queries, in the files' order; a candidate once for each of its splits."""
        for side in ("candidates", "queries"):
            for row in self._rows(side):
                if isinstance(row, BadSample):
                    yield row
                    continue
                sample = self._sample(side, row)
                if isinstance(sample, BadSample):
                    yield sample
                    continue
                for split in row.splits or self._splits:
                    yield f"{side}/{split}", sample

    def qrels(self) -> Qrels:
        """Return each query's positives, with relevance 1."""
        return {split: self._judged(split) for split in self._splits}

    def pools(self) -> Pools:
        """Return per task the documents that name it in `tasks`; of those that name none, the modality asked for."""
        pools: dict[str, dict[str, list[str]]] = {
            split: {task.name: [] for task in self.tasks} for split in self._splits
        }
        for row in self._good("candidates"):
            for task in self.tasks:
                fits = task.name in row.tasks if row.tasks else row.sample.modality is task.candidate_modality
                for split in (row.splits or self._splits) if fits else ():
                    pools[split][task.name].append(row.sample.id)
        return pools

    def repeats(self) -> Mapping[str, Mapping[str, int]]:
        """Return nothing: every query is there once."""
        return {}

    def licences(self) -> tuple[str, ...]:
        """Return the lines of `licences.txt`, if there is one."""
        path = self.root / "licences.txt"
        return tuple(path.read_text(encoding="utf-8").splitlines()) if path.exists() else ()

    @cached_property
    def _splits(self) -> tuple[str, ...]:
        """Splits that have a query."""
        found = {row.splits[0] for row in self._good("queries")}
        return tuple(split for split in SPLITS if split in found)

    @cached_property
    def _documents(self) -> dict[str, set[str]]:
        """Ids of each split's documents."""
        documents: dict[str, set[str]] = {split: set() for split in self._splits}
        for row in self._good("candidates"):
            for split in row.splits or self._splits:
                documents.setdefault(split, set()).add(row.sample.id)
        return documents

    def _judged(self, split: str) -> Iterator[Qrel]:
        for row in self._good("queries"):
            if row.splits[0] == split:
                for did in row.sample.positives:
                    yield row.sample.id, did, 1, task_by_name(str(row.sample.task), self.tasks).mbeir_id

    def _good(self, side: str) -> Iterator[_Row]:
        return (row for row in self._rows(side) if not isinstance(row, BadSample))

    def _rows(self, side: str) -> Iterator[_Row | BadSample]:
        path = self.root / f"{side}.jsonl"
        for line in lines(path):
            record: dict[str, Any] = {}
            try:
                record = parse_object(line.content)
                yield _parse(record, side, self.tasks, (path, line.number))
            except InputError as wrong:
                name, split = record.get("id"), record.get("split")
                part = f"{side}/{split}" if isinstance(split, str) else side
                yield bad_sample(part, (path, line.number), name if isinstance(name, str) else None, wrong)

    def _sample(self, side: str, row: _Row) -> Sample | BadSample:
        """Check a query's positives, read the image."""
        try:
            for did in row.sample.positives:
                if did not in self._documents[row.splits[0]]:
                    fix = f"add it to candidates.jsonl for split {row.splits[0]}, or remove it"
                    raise InputError(f"positive {did} is not among the candidates", fix=fix)
            if row.image is None:
                return row.sample
            image = read_image(self.root, row.image)
            check_image(image)
            return dataclasses.replace(row.sample, image=image)
        except InputError as wrong:
            return bad_sample(f"{side}/{'+'.join(row.splits)}".rstrip("/"), row.place, row.sample.id, wrong)


class _Row(NamedTuple):
    """One line, without its image."""

    sample: Sample
    image: str | None
    splits: tuple[str, ...]
    """Empty: every split."""
    tasks: tuple[str, ...]
    """Candidates only: the tasks whose local pool has it; empty: by modality."""
    place: tuple[Path, int]


def _parse(record: Record, side: str, tasks: Sequence[Task], place: tuple[Path, int]) -> _Row:
    unknown = sorted(set(record) - FIELDS[side])
    if unknown:
        raise InputError(f"has unknown fields: {', '.join(unknown)}", fix=f"use {', '.join(sorted(FIELDS[side]))}")
    name, text, image, source = (_string(record, field) for field in ("id", "text", "image", "source"))
    if name is None:
        raise InputError("lacks id", fix="give every line an id")
    check_id(name)
    modality = Modality.of(text=text is not None, image=image is not None)
    sample = Sample(name, text, None, modality, source=source)
    splits = _strings(record, "split")
    if not set(splits) <= set(SPLITS):
        raise InputError(f"split {record['split']!r} is unknown", fix=f"use {', '.join(SPLITS)}")
    named = _strings(record, "tasks")
    for task in named:
        task_by_name(task, tasks)
    if side == "queries":
        sample = _query(sample, record, tasks)
        if len(splits) != 1:
            raise InputError("belongs to no split, or to several", fix=f"name one of {', '.join(SPLITS)}")
    return _Row(sample, image, splits, named, place)


def _query(sample: Sample, record: Record, tasks: Sequence[Task]) -> Sample:
    named = _string(record, "task")
    if named is None and len(tasks) > 1:
        raise InputError("lacks task", fix=f"name one of {', '.join(task.name for task in tasks)}")
    task = tasks[0] if named is None else task_by_name(named, tasks)
    if task.query_modality is not sample.modality:
        problem = f'holds "{sample.modality}", but {task.name} asks with "{task.query_modality}"'
        raise InputError(problem, fix="correct the query or its task")
    positives, negatives = _strings(record, "positives"), _strings(record, "negatives")
    if len(set(positives)) < len(positives):
        twice = next(did for place, did in enumerate(positives) if did in positives[:place])
        raise InputError(f"names positive {twice} twice", fix="name it once")
    return dataclasses.replace(sample, task=task.name, positives=positives, negatives=negatives)


def _string(record: Record, field: str) -> str | None:
    found = record.get(field)
    if found is not None and not isinstance(found, str):
        raise InputError(f"{field} is not a string", fix=f"correct {field}")
    check_unicode(found, field)
    return found or None


def _strings(record: Record, field: str) -> tuple[str, ...]:
    """Read one string or a list of them."""
    found = record.get(field) or []
    listed = [found] if isinstance(found, str) else found
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise InputError(f"{field} is neither a string nor a list of strings", fix=f"correct {field}")
    check_unicode("".join(listed), field)
    return tuple(listed)
