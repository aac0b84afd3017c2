"""The queries of a composed-image data set with what their protocol needs beyond qrels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.errors import InputError
from lit_mmembed.types import Task


@dataclass(frozen=True)
class ComposedQuery:
    """One query; documents by their ids."""

    id: str
    task: Task
    number: str
    """What the data set calls it: its id, its pair's id, or its place in the caption file."""
    reference: str
    positives: tuple[str, ...] = ()
    """All answers; none where the split's answers are not published."""
    target: str | None = None
    """The picture that the sentence was written for."""
    members: tuple[str, ...] = ()
    """CIRR: its subset, without the reference."""
    aspects: tuple[str, ...] = ()
    """CIRCO: what kind of change the sentence asks for."""
    captions: tuple[str, ...] = ()
    """FashionIQ: its sentences before they were joined."""
    query_text: str = ""
    """How the text was written."""


class ComposedSplit:
    """The queries and galleries of a split.

    Args:
        directory: Made by `mmembed shard --source PROTOCOL`.
        split: train, val or test.
        protocol: One of PROTOCOLS.

    Raises:
        InputError: the data directory was made from another source, or has no such split.
    """

    def __init__(self, directory: DataDirectory, split: str, protocol: str) -> None:
        self.directory, self.split, self.protocol = directory, split, protocol
        source = directory.manifest.get("source")
        if source != protocol:
            fix = f"make it with `mmembed shard --source {protocol}`"
            raise InputError(f"was made from {source}, not from {protocol}", file=directory.path, fix=fix)
        self.queries = self._read()

    @property
    def has_answers(self) -> bool:
        """Whether the split can be scored here."""
        return any(query.target for query in self.queries)

    @cached_property
    def galleries(self) -> dict[str, np.ndarray]:
        """Task name -> ids of the documents that its queries are searched in."""
        ids = self.directory.candidates(self.split).ids
        return {task: ids[rows] for task, rows in self.directory.pools(self.split).items()}

    def gallery_of(self, query: ComposedQuery) -> frozenset[str]:
        """Ids of the documents that a query is searched in."""
        name = query.task.name
        if name not in self._gallery_sets:
            self._gallery_sets[name] = frozenset(self.galleries[name])
        return self._gallery_sets[name]

    @cached_property
    def _gallery_sets(self) -> dict[str, frozenset[str]]:
        return {}

    def _read(self) -> list[ComposedQuery]:
        reader, tasks = self.directory.queries(self.split), self.directory.tasks
        queries = []
        for row, sample in enumerate(reader):
            try:
                about: dict[str, Any] = json.loads(sample.source or "")
                lists = {name: tuple(about.get(name, ())) for name in ("members", "aspects", "captions")}
                queries.append(
                    ComposedQuery(
                        sample.id,
                        tasks[int(reader.task[row])],
                        about["number"],
                        about["reference"],
                        sample.positives,
                        about.get("target"),
                        query_text=about["query_text"],
                        **lists,
                    )
                )
            except (ValueError, KeyError):
                problem = "says nothing of its reference picture"
                raise InputError(problem, file=reader.folder, record=sample.id, fix="shard the data again") from None
        return queries
