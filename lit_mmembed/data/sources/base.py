"""What a source is: samples of every split, with their qrels, local pools and instructions.

A new source is one file beside this one and a line in `lit_mmembed.data.sharding`; `tests/contracts/test_source.py`
holds what it must obey.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lit_mmembed.data.building import BadSample, Qrel
from lit_mmembed.data.directory import task_from_row
from lit_mmembed.data.spelling import printable
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json
from lit_mmembed.types import Sample, Task

SPLITS = ("train", "val", "test")

Item = tuple[str, Sample] | BadSample
"""("queries/train" | "candidates/test" | ..., Sample), or a sample that could not be read."""

Qrels = Mapping[str, Iterable[Qrel]]
"""Split -> (qid, did, relevance, M-BEIR's task number)."""

Pools = Mapping[str, Mapping[str, Iterable[str]]]
"""Split -> task name -> ids of the task's local pool."""


class Source(Protocol):
    """A benchmark that `mmembed shard` can read."""

    name: str
    tasks: tuple[Task, ...]
    """In reporting order."""
    instructions_path: Path | None
    """M-BEIR's TSV, if the source has one."""

    def items(self) -> Iterator[Item]:
        """Yield every query and document of every split, in any order that repeats."""
        ...

    def qrels(self) -> Qrels:
        """Return the judged pairs of each split."""
        ...

    def pools(self) -> Pools | None:
        """Return the local pools; None, or a split left out: by the id's dataset number and the modality asked for."""
        ...

    def repeats(self) -> Mapping[str, Mapping[str, int]]:
        """Return per split how often an epoch has a query, where not once."""
        ...

    def licences(self) -> tuple[str, ...]:
        """Return the licences of texts and images."""
        ...


class Line(NamedTuple):
    """One line of a JSONL file."""

    number: int
    """From 1."""
    offset: int
    """Where the line begins, in bytes."""
    content: bytes


def lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file that are not blank; InputError when the file is missing."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise InputError("does not exist", file=path, fix="check the folder's layout: docs/data.md") from None
    with stream:
        offset = 0
        for number, content in enumerate(stream, start=1):
            if content.strip():
                yield Line(number, offset, content)
            offset += len(content)


def parse_object(content: bytes) -> dict[str, Any]:
    """Parse one JSON object; InputError (without a place) when it is none."""
    try:
        record = json.loads(content)
    except ValueError as broken:
        raise InputError(f"is not JSON: {broken}", fix="repair or remove the line") from None
    if not isinstance(record, dict):
        raise InputError("is not a JSON object", fix="write one object {...} a line")
    return record


def read_tasks(path: Path) -> tuple[Task, ...]:
    """Read `tasks.json`: a list of objects with the fields of `types.Task`."""
    rows = read_json(path)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError("is not a list of tasks", file=path, fix="write [{...}, ...] with the fields of a task")
    try:
        tasks = tuple(task_from_row(row, file=path) for row in rows)
    except InputError as wrong:
        raise InputError(wrong.problem, file=path, record=wrong.record, fix=wrong.fix) from None
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise InputError("names a task twice", file=path, fix="give every task its own dataset and mbeir_id")
    return tasks


def bad_sample(part: str, place: tuple[Path, int], sample_id: str | None, error: InputError) -> BadSample:
    """Say where a damaged sample stands: `place` is (file, line number), which alone names a sample without id."""
    path, line = place
    name, record = printable(sample_id or ""), error.record or sample_id
    problem = printable(error.problem)
    record = None if record is None else printable(record)
    return BadSample(part, name, InputError(problem, file=f"{path}:{line}", record=record, fix=error.fix))
