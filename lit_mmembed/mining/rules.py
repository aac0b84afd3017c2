"""Which retrieved documents are hard negatives: the two kinds of section 4.1.1, and those that stay below the positive.

Shapes: n documents retrieved for a query, R = all rows of a run of Q rankings, M rows selected. Ranks in arrays count
from 0, those in names and texts from 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lit_mmembed.errors import InputError


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What was retrieved for Q queries, with its labels: the rankings laid end to end, each best first."""

    modality: np.ndarray
    """[R] modality codes of the documents."""
    is_positive: np.ndarray
    """[R] whether a document is a labelled positive of its query."""
    score: np.ndarray
    """[R] float32."""
    wanted: np.ndarray
    """[Q] the code of the modality that each query's task asks for."""
    offsets: np.ndarray
    """[Q + 1] rows of query q are `offsets[q]:offsets[q + 1]`."""
    seeds: np.ndarray
    """[Q] int64, `stable_id` of each query's id: seeds what is drawn for it."""

    def each(self) -> Iterator[Retrieved]:
        """Every ranking alone."""
        return map(self.one, range(len(self.wanted)))

    def one(self, query: int) -> Retrieved:
        """The ranking of one query alone (Q = 1)."""
        rows, only = slice(self.offsets[query], self.offsets[query + 1]), slice(query, query + 1)
        columns = (self.modality[rows], self.is_positive[rows], self.score[rows])
        return Retrieved(*columns, self.wanted[only], np.array([0, len(columns[0])]), self.seeds[only])

    def query_and_rank(self) -> tuple[np.ndarray, np.ndarray]:
        """[R] the query of each row and its rank from 0."""
        count = np.diff(self.offsets)
        query = np.repeat(np.arange(len(count)), count)
        return query, np.arange(self.offsets[-1]) - self.offsets[:-1][query]


@dataclass(frozen=True, slots=True)
class Filtered:
    """What the filters of a rule did to a run; a row may be removed by several."""

    considered: np.ndarray
    """[R] rows that the filters looked at."""
    removed: Mapping[str, np.ndarray]
    """Filter -> [R] rows considered that it removes."""
    survived: np.ndarray
    """[R] rows considered that none removes."""
    has_positive: np.ndarray
    """[Q] whether a labelled positive was retrieved."""


class NegativeRule(ABC):
    """Selects negatives from what was retrieved for a query. To add a rule, give it a `kind` and `select`."""

    kind: str
    """Its name in NEGATIVES.parquet."""

    @abstractmethod
    def select(self, ranking: Retrieved) -> np.ndarray:
        """Return the ranks, from 0 and ascending, of the negatives in the ranking of one query (Q = 1)."""

    def select_all(self, run: Retrieved) -> np.ndarray:
        """Return the rows [M], ascending, that `select` finds in each of Q rankings laid end to end."""
        found = [begin + self.select(one) for begin, one in zip(run.offsets[:-1], run.each(), strict=True)]
        return np.concatenate([np.zeros(0, dtype=np.int64), *found]).astype(np.int64)

    def filtered(self, run: Retrieved) -> Filtered | None:
        """What its filters removed, for the statistics; None of a rule without filters."""
        return None

    def check(self) -> None:  # noqa: B027 - most rules take any setting
        """Raise InputError where its settings make no sense: before mining, as jsonargparse hides a constructor's."""

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, for the run record."""
        return dict(vars(self))


class WrongModality(NegativeRule):
    """C1 of section 4.1.1: a document of another modality that is retrieved above the labelled positive.

    The list is the top `depth` above its best-ranked positive, or all of it when no positive is in it; the negatives
    are its documents that do not have the modality asked for.
    """

    kind = "wrong_modality"

    def __init__(self, depth: int = 50) -> None:
        self.depth = depth

    def select(self, ranking: Retrieved) -> np.ndarray:
        """Return the ranks of the wrong-modality documents above the positive."""
        positives = np.flatnonzero(ranking.is_positive[: self.depth])
        end = positives[0] if len(positives) else self.depth
        return np.flatnonzero(ranking.modality[:end] != ranking.wanted[0])

    def select_all(self, run: Retrieved) -> np.ndarray:
        """Do the same for all rankings at once: a row is above its positive when none has come in its ranking yet."""
        query, rank = run.query_and_rank()
        seen = np.concatenate([[0], np.cumsum(run.is_positive)])
        none_yet = seen[1:] == seen[run.offsets[:-1]][query]
        return np.flatnonzero((rank < self.depth) & none_yet & (run.modality != run.wanted[query]))


class Unsatisfying(NegativeRule):
    """C2 of section 4.1.1: a document of the modality asked for that is ranked low, so likely without what is asked.

    The negatives are the documents at ranks `k_prime` + 1 to `depth` of the modality asked for; positives are excluded.
    """

    kind = "unsatisfying"

    def __init__(self, k_prime: int = 45, depth: int = 50) -> None:
        self.k_prime = k_prime
        self.depth = depth

    def select(self, ranking: Retrieved) -> np.ndarray:
        """Return the ranks of the low-ranked documents of the modality asked for."""
        tail = slice(self.k_prime, self.depth)
        return self.k_prime + np.flatnonzero((ranking.modality[tail] == ranking.wanted[0]) & ~ranking.is_positive[tail])

    def select_all(self, run: Retrieved) -> np.ndarray:
        """Do the same for all rankings at once."""
        query, rank = run.query_and_rank()
        in_tail = (rank >= self.k_prime) & (rank < self.depth)
        return np.flatnonzero(in_tail & (run.modality == run.wanted[query]) & ~run.is_positive)


class PositiveAware(NegativeRule):
    """A document of the modality asked for whose score stays clearly below the positive's, so likely no unlabelled one.

    The filters of NV-Retriever (de Souza P. Moreira et al. 2024), TopK-MarginPos, TopK-PercPos and TopK-Abs: a document
    stays when its score is below every limit that is set. The positive's score is that of the lowest-scored labelled
    positive in the ranking. Where the ranking has none, the positive scores at most as much as its last document, so
    `margin` and `fraction` leave nothing. docs/mining.md says more.

    Args:
        margin: Below the positive's score minus this.
        fraction: Below this share of the positive's score, 0 to 1; 0.95 is a relative margin of 0.05. A negative score
            is lowered by 1 - `fraction` of its size: the share itself would lie above it.
        max_score: Below this score.
        first: Best rank that is looked at, from 1, positives counted.
        last: Worst rank that is looked at; None looks at the whole ranking.
        per_query: Negatives per ranking, at most; None keeps all.
        choose: Which of them: the `best` ranked, or `random` ones, drawn by the seed and the query's id alone.
        seed: Of the draws.
    """

    kind = "positive_aware"

    def __init__(
        self,
        *,
        margin: float | None = None,
        fraction: float | None = None,
        max_score: float | None = None,
        first: int = 1,
        last: int | None = None,
        per_query: int | None = None,
        choose: Literal["best", "random"] = "best",
        seed: int = 0,
    ) -> None:
        self.margin, self.fraction, self.max_score = margin, fraction, max_score
        self.first, self.last = first, last
        self.per_query, self.choose, self.seed = per_query, choose, seed

    def check(self) -> None:
        """Refuse it without a limit, and a limit out of its range."""
        if self.margin is None and self.fraction is None and self.max_score is None:
            raise InputError("positive_aware has no limit", fix="give margin, fraction (e.g. 0.95) or max_score")
        if self.margin is not None and not self.margin >= 0:
            raise InputError(f"margin {self.margin} is negative", fix="give at least 0")
        if self.fraction is not None and not 0 <= self.fraction <= 1:
            raise InputError(f"fraction {self.fraction} is not a share", fix="give 0 to 1, e.g. 0.95")
        if self.first < 1 or (self.last is not None and self.last < self.first):
            raise InputError(f"ranks {self.first} to {self.last} are no window", fix="count from 1, first to last")
        if self.per_query is not None and self.per_query < 1:
            raise InputError(f"{self.per_query} negatives per query are none", fix="give at least 1")

    def select(self, ranking: Retrieved) -> np.ndarray:
        """Return the ranks of the documents that survive the filters, `per_query` of them at most."""
        return self.select_all(ranking)

    def select_all(self, run: Retrieved) -> np.ndarray:
        """Do the same for all rankings at once."""
        rows = np.flatnonzero(self.filtered(run).survived)
        if self.per_query is None:
            return rows
        query = np.searchsorted(run.offsets, rows, side="right") - 1
        count = np.bincount(query, minlength=len(run.wanted))
        order = np.lexsort((rows if self.choose == "best" else self._lots(run.seeds, count), query))
        place = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        return np.sort(rows[order[place < self.per_query]])

    def filtered(self, run: Retrieved) -> Filtered:
        """What each filter removes; `no_positive` are the rows of rankings in which margin and fraction have none."""
        query, rank = run.query_and_rank()
        in_window = (rank >= self.first - 1) & (rank < (np.inf if self.last is None else self.last))
        considered = in_window & (run.modality == run.wanted[query]) & ~run.is_positive
        has_positive = np.bincount(query[run.is_positive], minlength=len(run.wanted)) > 0
        positive = np.where(has_positive, np.inf, 0.0)
        np.minimum.at(positive, query[run.is_positive], run.score[run.is_positive].astype(np.float64))
        limits = self._limits(positive)
        removed: dict[str, np.ndarray] = {}
        for name, limit in limits.items():
            removed[name] = considered & has_positive[query] & ~(run.score < limit[query])
        if limits:
            removed["no_positive"] = considered & ~has_positive[query]
        if self.max_score is not None:
            removed["max_score"] = considered & ~(run.score < np.float64(self.max_score))
        survived = considered & ~np.any([*removed.values()], axis=0)
        return Filtered(considered, removed, survived, has_positive)

    def _limits(self, positive: np.ndarray) -> dict[str, np.ndarray]:
        """[Q] what a negative's score is below, by the filters that the positive's score enters."""
        limits = {}
        if self.margin is not None:
            limits["margin"] = positive - self.margin
        if self.fraction is not None:
            limits["fraction"] = np.where(positive >= 0, self.fraction, 2 - self.fraction) * positive
        return limits

    def _lots(self, seeds: np.ndarray, count: np.ndarray) -> np.ndarray:
        """One number for each survivor; what a query's get depends on nothing but the seed, its id and their number."""
        drawn = [np.random.default_rng([self.seed, int(seeds[q])]).random(count[q]) for q in np.flatnonzero(count)]
        return np.concatenate([np.zeros(0), *drawn])


def paper_rules(k_prime: int, depth: int) -> list[NegativeRule]:
    """The two rules of section 4.1.1 (the paper: k' = 45, depth 50)."""
    return [WrongModality(depth), Unsatisfying(k_prime, depth)]
