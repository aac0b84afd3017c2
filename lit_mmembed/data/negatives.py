"""NEGATIVES.parquet as training reads it: one hard negative per query and epoch, the two kinds half and half."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lit_mmembed.data.reader import ShardReader
from lit_mmembed.errors import InputError
from lit_mmembed.types import Sample

COLUMNS = ("qid", "did", "kind", "rank", "score")


class MinedNegatives:
    """Draws a query's negatives from a file of `mmembed mine` (or of the random control).

    Section 4.1.1 samples from both kinds; here a fair coin chooses the kind, then one document of it is drawn evenly.

    Args:
        path: NEGATIVES.parquet.
        when_empty: What happens when the chosen kind is empty for a query: `other` draws from the other kind,
            `in_batch` gives none. The paper does not say.
        kinds: Only these kinds of the file; None takes all.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        when_empty: Literal["other", "in_batch"] = "other",
        kinds: Sequence[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.kinds = None if kinds is None else sorted(kinds)
        self.when_empty = when_empty
        if not self.path.exists():
            raise InputError(
                "does not exist", file=self.path, fix="mine first: `mmembed mine` or the MineNegatives callback"
            )

    def draw(self, query: Sample, generator: np.random.Generator) -> str | None:
        """Return one negative's id, or None."""
        place = self._query_place.get(query.id)
        coin, point = generator.random(2)
        if place is None:
            return None
        kind = int(coin * len(self._kinds))
        rows = self._rows_of(place, kind)
        if not len(rows) and self.when_empty == "other":
            others = [self._rows_of(place, other) for other in range(len(self._kinds)) if other != kind]
            rows = next((other for other in others if len(other)), rows)
        return self._dids[rows[int(point * len(rows))]].as_py() if len(rows) else None

    def check(self, queries: ShardReader, candidates: ShardReader, qrels: Path) -> None:
        """Check the file against the training data: it is of this data, and no negative is a positive.

        Args:
            queries: The training queries.
            candidates: The training pool.
            qrels: Their positives: M-BEIR's columns qid, 0, did, relevance, task.

        Raises:
            InputError: it has negatives of none of these queries, or documents that the pool lacks; a document is
                positive and negative of one query.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        qids = pa.array(list(self._query_place), pa.string())
        if len(qids) and not pc.any(pc.is_in(qids, value_set=pa.array(queries.ids, pa.string()))).as_py():
            fix = "mine with the queries that are trained on"
            raise InputError(f"has negatives of none of the queries in {queries.folder}", file=self.path, fix=fix)
        edges = self._edges[:: max(1, len(self._kinds))]
        owner = np.repeat(np.arange(len(qids)), np.diff(edges))
        documents = pc.dictionary_encode(self._dids)
        there = pc.is_in(documents.dictionary, value_set=pa.array(candidates.ids, pa.large_string()))
        if not pc.all(there).as_py():
            missing = documents.dictionary.filter(pc.invert(there))[0].as_py()
            problem = f"has a document that {candidates.folder} lacks"
            raise InputError(problem, file=self.path, record=missing, fix="mine with the data that is trained on")
        width = max(1, len(documents.dictionary))
        query, document = _positives(qrels)
        places = [pc.index_in(query, value_set=qids), pc.index_in(document, value_set=documents.dictionary)]
        known = pc.and_(pc.is_valid(places[0]), pc.is_valid(places[1]))
        positive = [place.filter(known).to_numpy(zero_copy_only=False).astype(np.int64) for place in places]
        wrong = np.isin(owner * width + documents.indices.to_numpy(), positive[0] * width + positive[1])
        if wrong.any():
            row = int(wrong.argmax())
            record = f"query {qids[owner[row]].as_py()}, document {self._dids[row].as_py()}"
            fix = "mine again with this data, or remove the row"
            raise InputError("is positive and negative at once", file=self.path, record=record, fix=fix)

    def _rows_of(self, place: int, kind: int) -> range:
        cell = place * len(self._kinds) + kind
        return range(int(self._edges[cell]), int(self._edges[cell + 1]))

    @cached_property
    def _columns(self) -> tuple:
        """Document ids sorted by (query, kind), and where each cell begins."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.path, columns=list(COLUMNS[:3]))
        except (OSError, ValueError, KeyError) as broken:
            raise InputError(f"is not a file of negatives: {broken}", file=self.path, fix="mine again") from None
        if self.kinds is not None:
            present = table["kind"].cast("string").unique().to_pylist()
            if missing := [kind for kind in self.kinds if kind not in present]:
                problem = f"has no negatives of kind {', '.join(missing)}"
                raise InputError(problem, file=self.path, fix=f"it has {sorted(present)}")
            table = table.filter(pc.is_in(table["kind"].cast("string"), value_set=pa.array(self.kinds)))
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


class OwnNegatives:
    """Draws from the negatives that a query brings along: Tevatron's, triplets', M-BEIR's `neg_cand_list`."""

    def draw(self, query: Sample, generator: np.random.Generator) -> str | None:
        """Return one negative's id, or None."""
        return query.negatives[int(generator.integers(len(query.negatives)))] if query.negatives else None

    def check(self, queries: ShardReader, candidates: ShardReader) -> None:
        """Check every query's negatives, in one pass over the queries.

        Raises:
            InputError: a negative is a positive of its query, or is not in the pool; a query is damaged.
        """
        fix = "correct the source and shard it again, or train with negatives: in_batch"
        for query in queries:
            for did in query.negatives:
                record = f"query {query.id}, document {did}"
                if did in query.positives:
                    raise InputError("is positive and negative at once", file=queries.folder, record=record, fix=fix)
                if candidates.find(did) is None:
                    problem = f"is a negative that {candidates.folder} lacks"
                    raise InputError(problem, file=queries.folder, record=record, fix=fix)


def _positives(qrels: Path) -> tuple[Any, Any]:
    """Return the queries and documents of a file of positives, as arrays of strings."""
    from pyarrow import array, csv, string

    if not qrels.stat().st_size:  # Arrow takes no empty file
        return array([], string()), array([], string())
    names = ["qid", "zero", "did", "relevance", "task"]
    kept = {"qid": string(), "did": string()}
    table = csv.read_csv(
        qrels,
        read_options=csv.ReadOptions(column_names=names),
        parse_options=csv.ParseOptions(delimiter=" ", quote_char=False),
        convert_options=csv.ConvertOptions(column_types=kept, include_columns=list(kept)),
    )
    return table["qid"].combine_chunks(), table["did"].combine_chunks()
