"""What a model retrieved: its ranking beside the queries, documents and labels.

Shapes: Q rankings, R rows of all rankings.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lit_mmembed.data.labels import read_candidates, read_queries
from lit_mmembed.errors import InputError
from lit_mmembed.mining.rules import NegativeRule, Retrieved
from lit_mmembed.mining.table import LabelledRun, label_run
from lit_mmembed.results.samples import Item, Query, Samples
from lit_mmembed.retrieval.ids import base_query_ids
from lit_mmembed.retrieval.ranking import read_ranking
from lit_mmembed.types import MODALITIES, Modality, Task

if TYPE_CHECKING:
    from lit_mmembed.data.directory import DataDirectory


class Hit(NamedTuple):
    """A document at a place of a ranking."""

    rank: int | None
    """From 1; None for a positive that was not retrieved."""
    score: float | None
    """Cosine similarity, for an encoder's ranking."""
    is_positive: bool
    wrong_modality: bool
    """It does not have the modality that the task asks for."""
    document: Item


class Answers:
    """The ranking of one model over one pool. `Results.answers` opens it.

    Args:
        directory: The data that was searched.
        split: Its split.
        ranking: The ranking's file.
        prompts: The prompt policy; with `none` queries have no instruction.
    """

    def __init__(self, directory: DataDirectory, split: str, ranking: str | Path, *, prompts: str = "first") -> None:
        self.file = Path(ranking)
        self.split = split
        self.samples = Samples(directory, split, prompts=prompts)
        self._directory = directory

    @cached_property
    def labelled(self) -> LabelledRun:
        """The ranking as arrays with labels: what the rules of `mining.rules` take."""
        parts = (self._directory.path / side / self.split for side in ("queries", "candidates"))
        queries, candidates = parts
        ranking = read_ranking(self.file)
        return label_run(ranking, read_queries(queries), read_candidates(candidates), file=self.file)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that have a ranking, by the paper's number."""
        present = np.unique(self.labelled.queries.task[self.labelled.query_row])
        return tuple(sorted((self._directory.tasks[place] for place in present), key=lambda task: task.paper_id))

    def queries(self, task: str | None = None) -> list[str]:
        """Ids of the queries, of one task or of all; InputError for an unknown task."""
        if task is None:
            return list(self._places)
        place = self._directory.tasks.index(self._directory.task(task))
        of_task = self.labelled.queries.task[self.labelled.query_row] == place
        return [qid for qid, row in self._places.items() if of_task[row]]

    def query(self, qid: str) -> Query:
        """The query's text, picture, task, instruction and the ids of its positives."""
        return self.samples.query(qid)

    def top(self, qid: str, k: int = 10) -> list[Hit]:
        """The first k documents, best first; fewer where the ranking is shorter."""
        begin, end = self._span(qid)
        return [self._hit(row, begin) for row in range(begin, min(end, begin + k))]

    def positives(self, qid: str) -> list[Hit]:
        """All labelled positives, the retrieved ones first, by rank."""
        begin, end = self._span(qid)
        found = [self._hit(row, begin) for row in range(begin, end) if self.labelled.is_positive[row]]
        retrieved = {hit.document.id for hit in found}
        query = self.query(qid)
        lost = [self.samples.document(did) for did in query.positives if did not in retrieved]
        wanted = query.task.candidate_modality
        return found + [Hit(None, None, True, document.modality != wanted, document) for document in lost]

    def ranks(self, task: str | None = None) -> dict[str, int | None]:
        """Query -> rank of its best positive, or None below the ranking's depth."""
        ranks: dict[str, int | None] = {}
        for qid in self.queries(task):
            begin, end = self._span(qid)
            found = np.flatnonzero(self.labelled.is_positive[begin:end])
            ranks[qid] = int(found[0]) + 1 if len(found) else None
        return ranks

    def modalities(self, task: str, k: int = 1) -> dict[Modality, float]:
        """Shares (0 to 1) of the modalities among the first k documents of a task's queries."""
        codes = [
            self.labelled.modality[begin : min(end, begin + k)] for begin, end in map(self._span, self.queries(task))
        ]
        counts = np.bincount(np.concatenate(codes).astype(np.int64), minlength=len(MODALITIES))
        return {modality: float(counts[modality.code] / counts.sum()) for modality in MODALITIES}

    def negatives(self, qid: str, rules: Sequence[NegativeRule]) -> dict[int, str]:
        """Rank (from 1) -> kind of the documents that the rules select as negatives of the query."""
        self._span(qid)
        ranking = self._rankings[self._places[qid]]
        return {int(place) + 1: rule.kind for rule in rules for place in rule.select(ranking)}

    def shares(self, rules: Sequence[NegativeRule], task: str | None = None) -> dict[str, float]:
        """Kind -> share (0 to 1) of the queries, of one task or of all, for which a rule selects a negative."""
        asked = [self._places[qid] for qid in self.queries(task)]
        offsets = self.labelled.ranking.offsets
        found = {}
        for rule in rules:
            owners = np.searchsorted(offsets, rule.select_all(self.labelled.retrieved), side="right") - 1
            found[rule.kind] = float(np.isin(asked, owners).mean()) if asked else 0.0
        return found

    @cached_property
    def _rankings(self) -> list[Retrieved]:
        return list(self.labelled.retrieved.each())

    @cached_property
    def _places(self) -> dict[str, int]:
        """Query id -> its ranking; of several wordings the first."""
        names = base_query_ids(self.labelled.ranking.query_ids)
        first: dict[str, int] = {}
        for place, qid in enumerate(names):
            first.setdefault(str(qid), place)
        return first

    def _span(self, qid: str) -> tuple[int, int]:
        if qid not in self._places:
            some = ", ".join(list(self._places)[:3])
            raise InputError(
                "has no ranking of this query", file=self.file, record=qid, fix=f"ask for one such as {some}"
            )
        offsets = self.labelled.ranking.offsets
        place = self._places[qid]
        return int(offsets[place]), int(offsets[place + 1])

    def _hit(self, row: int, begin: int) -> Hit:
        run = self.labelled
        document = self.samples.document(str(run.ranking.document_ids[run.ranking.document[row]]))
        query = int(np.searchsorted(run.ranking.offsets, row, side="right")) - 1
        wrong = bool(run.modality[row] != run.wanted[query])
        return Hit(row - begin + 1, float(run.ranking.score[row]), bool(run.is_positive[row]), wrong, document)
