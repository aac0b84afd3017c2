"""A ranking seen with a protocol's queries: where the target and the answers stand, with the reference or without.

Shapes: Q queries, A rankings (several of one query under the prompt policy `all`), R rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.composed.queries import ComposedQuery
from lit_mmembed.metrics.ranking import Judged
from lit_mmembed.retrieval.ids import base_query_ids, places_in
from lit_mmembed.types import Ranking

Names = Callable[[ComposedQuery], Sequence[str]]
"""Which documents of a query are meant."""


class ComposedRun:
    """A ranking of every query, over known documents.

    Args:
        ranking: Best first.
        queries: All queries of the split.
        galleries: Task name -> ids of its gallery.
        file: Where the ranking was read from, for messages.

    Raises:
        InputError: a query is missing or unknown, or a document is not in its query's gallery.
    """

    def __init__(
        self,
        ranking: Ranking,
        queries: Sequence[ComposedQuery],
        galleries: Mapping[str, np.ndarray],
        *,
        file: Path | None = None,
    ) -> None:
        self.ranking, self.queries, self.file = ranking, queries, file
        names = base_query_ids(ranking.query_ids)
        self.owner = places_in(names, [query.id for query in queries])
        """[A] which query each ranking is of."""
        if (self.owner < 0).any():
            unknown = str(ranking.query_ids[int((self.owner < 0).argmax())])
            raise InputError("is no query of this split", file=file, record=unknown, fix="name the --split it is of")
        absent = np.flatnonzero(np.bincount(self.owner, minlength=len(queries)) == 0)
        if len(absent):
            problem = f"{len(absent)} of {len(queries)} queries are missing"
            record = f"query {queries[int(absent[0])].id}"
            raise InputError(problem, file=file, record=record, fix="rank every query of the split")
        self._check_documents(galleries)

    def documents(self, place: int) -> list[str]:
        """Return the ids of one ranking's documents, best first."""
        begin, end = self.ranking.offsets[place], self.ranking.offsets[place + 1]
        return list(self.ranking.document_ids[self.ranking.document[begin:end]])

    def query_of(self, place: int) -> ComposedQuery:
        """Return the query that a ranking is of."""
        return self.queries[int(self.owner[place])]

    def without(self, left_out: Names) -> ComposedRun:
        """Return the same rankings without these documents of each query."""
        return self._kept(lambda query, did: did not in left_out(query))

    def among(self, kept: Names) -> ComposedRun:
        """Return the same rankings, only these documents of each query."""
        return self._kept(lambda query, did: did in kept(query))

    def rank_of_target(self) -> np.ndarray:
        """[A] rank of each query's target, from 1; 0 where it was not retrieved."""
        judged = self.judged(lambda query: () if query.target is None else (query.target,))
        rank = np.zeros(judged.queries, dtype=np.int64)
        rank[judged.query] = judged.rank
        return rank

    def judged(self, positives: Names) -> Judged:
        """See the rankings through these positives of each query, all of relevance 1."""
        found: list[tuple[int, int]] = []
        wanted = [set(positives(query)) for query in self.queries]
        for place, owner in enumerate(self.owner):
            names = self.documents(place) if wanted[owner] else []
            found += [(place, rank) for rank, did in enumerate(names, start=1) if did in wanted[owner]]
        query, rank = np.array(found, dtype=np.int64).reshape(-1, 2).T
        count = np.array([len(wanted[owner]) for owner in self.owner])
        judged_query = np.repeat(np.arange(len(self.owner)), count)
        ones = [np.ones(len(rows), dtype=np.int64) for rows in (query, judged_query)]
        return Judged(len(self.owner), query, rank, ones[0], judged_query, ones[1])

    def per_query(self, values: np.ndarray) -> np.ndarray:
        """[Q] the mean over a query's wordings of `values` [A]."""
        total = np.bincount(self.owner, weights=values, minlength=len(self.queries))
        return total / np.bincount(self.owner, minlength=len(self.queries))

    @cached_property
    def depth(self) -> int:
        """Documents of the shortest ranking."""
        return int(np.diff(self.ranking.offsets).min())

    def _kept(self, keep: Callable[[ComposedQuery, str], bool]) -> ComposedRun:
        keeps = [[keep(self.query_of(place), did) for did in self.documents(place)] for place in range(len(self.owner))]
        rows = np.array([kept for ranking in keeps for kept in ranking], dtype=bool)
        offsets = np.cumsum([0, *(sum(ranking) for ranking in keeps)])
        ranking = self.ranking
        other = object.__new__(ComposedRun)
        other.queries, other.file, other.owner = self.queries, self.file, self.owner
        other.ranking = Ranking(
            ranking.query_ids, ranking.document_ids, ranking.document[rows], ranking.score[rows], offsets
        )
        return other

    def _check_documents(self, galleries: Mapping[str, np.ndarray]) -> None:
        task = np.array([query.task.name for query in self.queries], dtype=object)[self.owner]
        of_row = np.repeat(task, np.diff(self.ranking.offsets))
        for name, gallery in galleries.items():
            used = np.unique(self.ranking.document[of_row == name])
            unknown = used[places_in(self.ranking.document_ids[used], gallery) < 0]
            if len(unknown):
                did = str(self.ranking.document_ids[int(unknown[0])])
                fix = "rank the gallery of the query's own task and split"
                raise InputError(f"is not in the gallery of {name}", file=self.file, record=did, fix=fix)
