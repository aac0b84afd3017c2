"""NEGATIVES.parquet as training reads it: one hard negative per query and epoch, the two kinds half and half."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lit_mmembed.errors import InputError

COLUMNS = ("qid", "did", "kind", "rank", "score")


class MinedNegatives:
    """Draws a query's negatives from a file of `mmembed mine` (or of the random control).

    Section 4.1.1 samples from both kinds; here a fair coin chooses the kind, then one document of it is drawn evenly.

    Args:
        path: NEGATIVES.parquet.
        when_empty: What happens when the chosen kind is empty for a query: `other` draws from the other kind,
            `in_batch` gives none. The paper does not say.
    """

    def __init__(self, path: str | Path, *, when_empty: Literal["other", "in_batch"] = "other") -> None:
        self.path = Path(path)
        self.when_empty = when_empty
        if not self.path.exists():
            raise InputError(
                "does not exist", file=self.path, fix="mine first: `mmembed mine` or the MineNegatives callback"
            )

    def draw(self, qid: str, generator: np.random.Generator) -> str | None:
        """Return one negative's id, or None."""
        place = self._query_place.get(qid)
        coin, point = generator.random(2)
        if place is None:
            return None
        kind = int(coin * len(self._kinds))
        rows = self._rows_of(place, kind)
        if not len(rows) and self.when_empty == "other":
            others = [self._rows_of(place, other) for other in range(len(self._kinds)) if other != kind]
            rows = next((other for other in others if len(other)), rows)
        return self._dids[rows[int(point * len(rows))]].as_py() if len(rows) else None

    def _rows_of(self, place: int, kind: int) -> range:
        cell = place * len(self._kinds) + kind
        return range(int(self._edges[cell]), int(self._edges[cell + 1]))

    @cached_property
    def _columns(self) -> tuple:
        """Document ids sorted by (query, kind), and where each cell begins."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.path, columns=list(COLUMNS[:3]))
        except (OSError, ValueError, KeyError) as broken:
            raise InputError(f"is not a file of negatives: {broken}", file=self.path, fix="mine again") from None
        query = pc.dictionary_encode(table["qid"].cast("string")).combine_chunks()
        kind = pc.dictionary_encode(table["kind"].cast("string")).combine_chunks()
        names = kind.dictionary.to_pylist()
        ranks = np.argsort(np.argsort(names)) if names else np.zeros(0, dtype=np.int64)
        cell = query.indices.to_numpy() * max(1, len(names)) + ranks[kind.indices.to_numpy()]
        order = np.argsort(cell, kind="stable")
        edges = np.searchsorted(cell[order], np.arange(len(query.dictionary) * max(1, len(names)) + 1))
        queries = {qid: place for place, qid in enumerate(query.dictionary.to_pylist())}
        dids = table["did"].cast("large_string").combine_chunks().take(order)
        return queries, sorted(names), dids, edges

    @property
    def _query_place(self) -> dict[str, int]:
        return self._columns[0]

    @property
    def _kinds(self) -> list[str]:
        return self._columns[1]

    @property
    def _dids(self) -> Any:  # a pyarrow array
        return self._columns[2]

    @property
    def _edges(self) -> np.ndarray:
        return self._columns[3]
