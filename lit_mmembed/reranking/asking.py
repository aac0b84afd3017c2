"""From a ranking to questions: the best documents of each query, with the texts and images that are asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.judging import judging_template
from lit_mmembed.data.tasks import task_by_name
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.prompts import FALLBACKS, Questions, reranking_question
from lit_mmembed.retrieval.ids import base_query_ids, places_in
from lit_mmembed.retrieval.ranking import lengths
from lit_mmembed.types import Ranking, Sample

Shorten = Callable[[str], str]


@dataclass(frozen=True)
class Asked:
    """The questions about one query, and what had to be done to ask them."""

    questions: Questions
    fallback: np.ndarray
    """[documents] int8: 1 + the place in FALLBACKS, or 0."""
    cut: np.ndarray
    """[documents] bool."""
    place: np.ndarray
    """[documents] int64: where each stands in the ranking, from 0."""


class Asking:
    """Makes the questions about the best documents of each query of a ranking.

    Args:
        ranking: What was retrieved.
        directory: The data that it was retrieved from.
        split: Of the queries and documents.
        depth: k: how many documents are asked about; a query with fewer is asked about those.
        tasks: Names of the tasks whose queries are asked about; None: all.
        part: (I, N): of these only each N-th, from the I-th on; None: all.
        file: Of the ranking, for errors.
        shorten: Cuts a document's text.

    Raises:
        InputError: a query or document is not in the data; a task has no question in Table 13, or is not in the
            data; no query of the ranking is of these tasks.
    """

    def __init__(
        self,
        ranking: Ranking,
        directory: DataDirectory,
        split: str,
        *,
        depth: int,
        tasks: Sequence[str] | None = None,
        part: tuple[int, int] | None = None,
        file: Path,
        shorten: Shorten | None = None,
    ) -> None:
        if depth < 1:
            raise InputError(f"k {depth} is no number of documents", fix="give at least 1, such as 10")
        self.ranking = ranking
        self.queries, self.candidates = directory.queries(split), directory.candidates(split)
        self.tasks = directory.tasks
        self.shorten = shorten
        self.query_row = self._rows(base_query_ids(ranking.query_ids), self.queries, file)
        self.task = np.asarray(self.queries.task)[self.query_row]
        self.counts = np.minimum(lengths(ranking), depth) * self._is_wanted(tasks, part, file)
        first = ranking.offsets[:-1]
        taken = np.concatenate([np.arange(s, s + n) for s, n in zip(first, self.counts, strict=True)])
        wanted = np.unique(ranking.document[taken])
        self._document_row = dict(
            zip(wanted.tolist(), self._rows(ranking.document_ids[wanted], self.candidates, file).tolist(), strict=True)
        )
        for code in np.unique(self.task[self.asked]):
            judging_template(self.tasks[int(code)])

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, place: int) -> Asked:
        """Read a query and its best documents; asked about in the order of their ids, whatever the ranking's."""
        query = self.queries[int(self.query_row[place])]
        task = self.tasks[int(self.task[place])]
        codes = self.documents(place)
        order = sorted(range(len(codes)), key=lambda rank: str(self.ranking.document_ids[codes[rank]]))
        documents = [self.candidates[self._document_row[codes[rank]]] for rank in order]
        shortened = [self._shortened(document) for document in documents]
        asked = [reranking_question(task, query, document) for document in shortened]
        return Asked(
            Questions(
                str(self.ranking.query_ids[place]),
                tuple(question.prompt for question in asked),
                tuple(document.id in query.positives for document in documents),
            ),
            np.array([1 + FALLBACKS.index(q.fallback) if q.fallback else 0 for q in asked], dtype=np.int8),
            np.array([a.text != b.text for a, b in zip(documents, shortened, strict=True)]),
            np.array(order),
        )

    @property
    def asked(self) -> list[int]:
        """The places of the queries that are asked about."""
        return np.flatnonzero(self.counts).tolist()

    def documents(self, place: int) -> list[int]:
        """Return the best documents of a query, as codes of the ranking, best first."""
        first = int(self.ranking.offsets[place])
        return self.ranking.document[first : first + int(self.counts[place])].tolist()

    def relevant(self, place: int) -> np.ndarray:
        """Return which of a query's documents [documents] bool are labelled as answers, best first."""
        positives = self.queries[int(self.query_row[place])].positives
        return np.array([str(self.ranking.document_ids[code]) in positives for code in self.documents(place)])

    def _shortened(self, document: Sample) -> Sample:
        if self.shorten is None or not document.text:
            return document
        return replace(document, text=self.shorten(document.text))

    def _is_wanted(self, tasks: Sequence[str] | None, part: tuple[int, int] | None, file: Path) -> np.ndarray:
        """Return which queries [queries] bool are asked about."""
        wanted = np.ones(len(self.task), dtype=bool)
        if tasks is not None:
            wanted = np.isin(self.task, [self.tasks.index(task_by_name(name, self.tasks)) for name in tasks])
            if not wanted.any():
                raise InputError(f"has no query of {', '.join(tasks)}", file=file, fix="name tasks of its queries")
        if part is not None:
            number, parts = part
            own = np.flatnonzero(wanted)[number - 1 :: parts]
            if not len(own):
                problem = f"has {wanted.sum()} queries: part {number} of {parts} is empty"
                raise InputError(problem, file=file, fix="take fewer parts")
            wanted = np.isin(np.arange(len(wanted)), own)
        return wanted

    @staticmethod
    def _rows(ids: Any, reader: Any, file: Path) -> np.ndarray:
        rows = places_in(ids, reader.ids)
        if (rows < 0).any():
            record = str(ids[int((rows < 0).argmax())])
            raise InputError(f"is not in {reader.folder}", file=file, record=record, fix="name the run's own data")
        return rows


def shortener(tokenizer: Any, limit: int) -> Shorten:
    """Return a function that cuts a text to its first `limit` tokens."""

    def shorten(text: str) -> str:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        spans = encoded["offset_mapping"]
        return text if len(spans) <= limit else text[: spans[limit - 1][1]]

    return shorten
