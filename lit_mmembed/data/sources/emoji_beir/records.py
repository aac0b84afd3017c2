"""Queries and documents while they are being made: equal documents become one, ids are numbers within a dataset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from lit_mmembed.types import Modality, Task

EMOJI, ATLAS = "Emoji", "Atlas"
DATASET_IDS = {EMOJI: 20, ATLAS: 21}


def _task(dataset: str, mbeir_id: int, paper_id: int, modalities: str) -> Task:
    query, candidate = modalities.split(" -> ")
    return Task(
        dataset=dataset,
        dataset_id=DATASET_IDS[dataset],
        mbeir_id=mbeir_id,
        paper_id=paper_id,
        query_modality=Modality(query),
        candidate_modality=Modality(candidate),
        domain=dataset.lower(),
    )


TASKS = {
    task.mbeir_id: task
    for task in (
        _task(EMOJI, 0, 1, "text -> image"),
        _task(ATLAS, 1, 2, "text -> text"),
        _task(ATLAS, 2, 3, "text -> image,text"),
        _task(EMOJI, 3, 4, "image -> text"),
        _task(EMOJI, 4, 5, "image -> image"),
        _task(ATLAS, 6, 6, "image,text -> text"),
        _task(EMOJI, 7, 7, "image,text -> image"),
        _task(ATLAS, 8, 8, "image,text -> image,text"),
    )
}
"""By M-BEIR's task number."""


@dataclass(frozen=True, slots=True)
class Document:
    """One candidate."""

    did: str
    text: str | None
    image: str | None

    @property
    def modality(self) -> Modality:
        """What it is made of."""
        return Modality.of(text=self.text is not None, image=self.image is not None)


@dataclass(frozen=True, slots=True)
class Query:
    """One query; its number within the dataset is given when all are known."""

    task: int
    split: str
    text: str | None
    image: str | None
    positives: tuple[str, ...]
    """Document ids, sorted by number."""


@dataclass
class Collection:
    """All documents, the pool of each split and all queries."""

    documents: dict[tuple[str, str | None, str | None], Document] = field(default_factory=dict)
    pools: dict[str, dict[str, Document]] = field(default_factory=lambda: {"train": {}, "val": {}, "test": {}})
    queries: list[Query] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add_document(self, dataset: str, split: str, *, text: str | None = None, image: str | None = None) -> str:
        """Put a document into the pool of a split and return its id; the same content is the same document."""
        key = (dataset, text, image)
        if key not in self.documents:
            self._numbers[dataset] += 1
            self.documents[key] = Document(f"{DATASET_IDS[dataset]}:{self._numbers[dataset]}", text, image)
        document = self.documents[key]
        self.pools[split][document.did] = document
        return document.did

    def add_query(
        self, task: int, split: str, positives: Iterable[str], *, text: str | None = None, image: str | None = None
    ) -> None:
        """Add a query; it must have a positive."""
        dids = tuple(sorted(set(positives), key=by_number))
        assert dids, (task, split, text, image)
        self.queries.append(Query(task, split, text, image, dids))

    def of(self, task: int, split: str) -> list[Query]:
        """Return the queries of a task in a split."""
        return [query for query in self.queries if query.task == task and query.split == split]


def by_number(record_id: str) -> tuple[int, int]:
    """Order ids by dataset and number."""
    dataset, number = record_id.split(":")
    return int(dataset), int(number)
