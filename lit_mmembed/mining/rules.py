"""Which retrieved documents are hard negatives: the two kinds of section 4.1.1, as rules over one ranked list.

Shapes: n documents retrieved for a query, R = all rows of a run of Q rankings, M rows selected. Ranks in arrays count
from 0, those in names and texts from 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

import numpy as np


class NegativeRule(ABC):
    """Selects negatives from what was retrieved for a query. To add a rule, give it a `kind` and `select`."""

    kind: str
    """Its name in NEGATIVES.parquet."""

    @abstractmethod
    def select(self, modality: np.ndarray, is_positive: np.ndarray, wanted: int) -> np.ndarray:
        """Return the ranks, from 0 and ascending, of the negatives among the documents retrieved for one query.

        Args:
            modality: [n] modality codes of the documents, best first.
            is_positive: [n] whether a document is a labelled positive of the query.
            wanted: The code of the modality that the query's task asks for.
        """

    def select_all(
        self, modality: np.ndarray, is_positive: np.ndarray, wanted: np.ndarray, offsets: np.ndarray
    ) -> np.ndarray:
        """Return the rows [M], ascending, that `select` finds in each of Q rankings laid end to end.

        Args:
            modality: [R] modality codes.
            is_positive: [R] labelled positives.
            wanted: [Q] the code asked for by each query.
            offsets: [Q + 1] rows of query q are `offsets[q]:offsets[q + 1]`.
        """
        found = [
            begin + self.select(modality[begin:end], is_positive[begin:end], int(wanted[query]))
            for query, (begin, end) in enumerate(pairwise(offsets))
        ]
        return np.concatenate([np.zeros(0, dtype=np.int64), *found]).astype(np.int64)


class WrongModality(NegativeRule):
    """C1 of section 4.1.1: a document of another modality that is retrieved above the labelled positive.

    The list is the top `depth` above its best-ranked positive, or all of it when no positive is in it; the negatives
    are its documents that do not have the modality asked for.
    """

    kind = "wrong_modality"

    def __init__(self, depth: int = 50) -> None:
        self.depth = depth

    def select(self, modality: np.ndarray, is_positive: np.ndarray, wanted: int) -> np.ndarray:
        """Return the ranks of the wrong-modality documents above the positive."""
        positives = np.flatnonzero(is_positive[: self.depth])
        end = positives[0] if len(positives) else self.depth
        return np.flatnonzero(modality[:end] != wanted)

    def select_all(
        self, modality: np.ndarray, is_positive: np.ndarray, wanted: np.ndarray, offsets: np.ndarray
    ) -> np.ndarray:
        """Do the same for all rankings at once: a row is above its positive when none has come in its ranking yet."""
        query, rank = _query_and_rank(offsets)
        seen = np.concatenate([[0], np.cumsum(is_positive)])
        none_yet = seen[1:] == seen[offsets[:-1]][query]
        return np.flatnonzero((rank < self.depth) & none_yet & (modality != wanted[query]))


class Unsatisfying(NegativeRule):
    """C2 of section 4.1.1: a document of the modality asked for that is ranked low, so likely without what is asked.

    The negatives are the documents at ranks `k_prime` + 1 to `depth` of the modality asked for; positives are excluded.
    """

    kind = "unsatisfying"

    def __init__(self, k_prime: int = 45, depth: int = 50) -> None:
        self.k_prime = k_prime
        self.depth = depth

    def select(self, modality: np.ndarray, is_positive: np.ndarray, wanted: int) -> np.ndarray:
        """Return the ranks of the low-ranked documents of the modality asked for."""
        tail = slice(self.k_prime, self.depth)
        return self.k_prime + np.flatnonzero((modality[tail] == wanted) & ~is_positive[tail])

    def select_all(
        self, modality: np.ndarray, is_positive: np.ndarray, wanted: np.ndarray, offsets: np.ndarray
    ) -> np.ndarray:
        """Do the same for all rankings at once."""
        query, rank = _query_and_rank(offsets)
        in_tail = (rank >= self.k_prime) & (rank < self.depth)
        return np.flatnonzero(in_tail & (modality == wanted[query]) & ~is_positive)


def _query_and_rank(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[R] the query of each row and its rank from 0."""
    count = np.diff(offsets)
    query = np.repeat(np.arange(len(count)), count)
    return query, np.arange(offsets[-1]) - offsets[:-1][query]
