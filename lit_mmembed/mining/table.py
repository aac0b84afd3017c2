"""A run beside its labels, and the table of negatives that rules find in it.

Shapes: Q rankings, R rows of all rankings, D documents of the run, M negatives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lit_mmembed.data.labels import CandidateLabels, QueryLabels
from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_file
from lit_mmembed.mining.rules import NegativeRule, Retrieved
from lit_mmembed.retrieval.ids import base_query_ids, places_in
from lit_mmembed.retrieval.ranking import METADATA_KEY
from lit_mmembed.types import Ranking, stable_id


@dataclass(frozen=True)
class LabelledRun:
    """A ranking whose queries and documents are known."""

    ranking: Ranking
    queries: QueryLabels
    candidates: CandidateLabels
    query_row: np.ndarray
    """[Q] row of each ranking's query among `queries`; wordings of one query share it."""
    document_row: np.ndarray
    """[D] row of each document among `candidates`."""

    @cached_property
    def modality(self) -> np.ndarray:
        """[R] modality codes of the documents retrieved."""
        return self.candidates.modality[self.document_row][self.ranking.document]

    @cached_property
    def wanted(self) -> np.ndarray:
        """[Q] the code that each query's task asks for."""
        codes = np.array([task.candidate_modality.code for task in self.queries.tasks], dtype=np.int64)
        return codes[self.queries.task[self.query_row]]

    @cached_property
    def is_positive(self) -> np.ndarray:
        """[R] whether a document is a labelled positive of the query."""
        rows, asked = np.unique(self.query_row, return_inverse=True)
        listed = [self.queries.positives(int(row)) for row in rows]
        query = np.repeat(np.arange(len(rows)), [len(dids) for dids in listed])
        document = places_in([did for dids in listed for did in dids], self.ranking.document_ids)
        width = len(self.ranking.document_ids)
        positives = (query * width + document)[document >= 0]
        owner = np.repeat(asked, np.diff(self.ranking.offsets))
        return np.isin(owner * width + self.ranking.document, positives)

    @cached_property
    def retrieved(self) -> Retrieved:
        """It as the rules see it."""
        seeds = np.array([stable_id(str(qid)) for qid in self.ranking.query_ids], dtype=np.int64)
        return Retrieved(self.modality, self.is_positive, self.ranking.score, self.wanted, self.ranking.offsets, seeds)

    @property
    def longest(self) -> int:
        """The number of documents of the longest ranking."""
        return int(np.diff(self.ranking.offsets).max(initial=0))


def label_run(ranking: Ranking, queries: QueryLabels, candidates: CandidateLabels, *, file: Path) -> LabelledRun:
    """Join a run with its queries and documents.

    Raises:
        InputError: it has a query or a document that they lack.
    """
    query_row = places_in(base_query_ids(ranking.query_ids), queries.ids)
    document_row = places_in(ranking.document_ids, candidates.ids)
    unknown = [(ranking.query_ids, query_row, "query", queries.file)]
    unknown.append((ranking.document_ids, document_row, "document", candidates.file))
    for names, rows, side, source in unknown:
        if (rows < 0).any():
            problem = f"{side} {names[int((rows < 0).argmax())]} of the run is not in {source}"
            raise InputError(problem, file=file, fix="give the files that were searched")
    return LabelledRun(ranking, queries, candidates, query_row, document_row)


def merge_wordings(run: LabelledRun, rules: Sequence[NegativeRule]) -> pa.Table:
    """Apply the rules to every ranking; a document found under several wordings stays once, at its best rank.

    Returns:
        [M] rows in the run's order of queries, then by kind, rank and wording.
    """
    kinds = sorted({rule.kind for rule in rules})
    found = [rule.select_all(run.retrieved) for rule in rules]
    kind = np.repeat([kinds.index(rule.kind) for rule in rules], [len(rows) for rows in found]).astype(np.int32)
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *found])
    offsets = run.ranking.offsets
    owner = np.searchsorted(offsets, rows, side="right") - 1
    rank = rows - offsets[owner] + 1
    query_ids, query = _in_order(run.query_row)
    query, document = query[owner], run.ranking.document[rows]
    best = _first_of_each(query, kind, document, rank=rank)
    best = best[np.lexsort((rows[best], rank[best], kind[best], query[best]))]
    return _table(
        query=(query[best], run.queries.ids[query_ids]),
        document=(document[best], run.ranking.document_ids),
        kind=(kind[best], kinds),
        numbers=(rank[best], run.ranking.score[rows[best]]),
    )


def draw_random(queries: QueryLabels, candidates: CandidateLabels, per_query: int, seed: int) -> pa.Table:
    """Draw `per_query` different documents for each query, none of them its positive.

    What a query gets depends on the seed, its id and the pool alone.
    """
    pool = {did: row for row, did in enumerate(candidates.ids)}
    drawn = []
    for row, qid in enumerate(queries.ids):
        generator = np.random.default_rng([seed, stable_id(qid)])
        positives = [pool[did] for did in queries.positives(row) if did in pool]
        documents = generator.choice(len(pool), min(len(pool), per_query + len(positives)), replace=False)
        drawn.append(documents[~np.isin(documents, positives)][:per_query])
    document = np.concatenate([np.zeros(0, dtype=np.int64), *drawn])
    return _table(
        query=(np.repeat(np.arange(len(drawn)), [len(documents) for documents in drawn]), queries.ids),
        document=(document, candidates.ids),
        kind=(np.zeros(len(document), dtype=np.int32), ["random"]),
        numbers=(np.zeros(len(document)), np.zeros(len(document))),
    )


def write_negatives(path: str | Path, table: pa.Table, record: Mapping[str, Any]) -> None:
    """Write NEGATIVES.parquet with the run record in its metadata, atomically."""
    content = json.dumps(record, sort_keys=True, ensure_ascii=False, default=str)
    with atomic_file(path) as partial:
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: content.encode()}), partial, compression="zstd")


def _in_order(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values in the order of their first appearance, and [Q] the place of each value among them."""
    values, first, place = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return values[order], rank[place]


def _first_of_each(query: np.ndarray, kind: np.ndarray, document: np.ndarray, *, rank: np.ndarray) -> np.ndarray:
    """Of the rows with the same query, kind and document, the one of the best rank."""
    order = np.lexsort((rank, document, kind, query))
    keys = np.stack([query[order], kind[order], document[order]])
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    return order[is_first]


def _table(
    *,
    query: tuple[np.ndarray, np.ndarray],
    document: tuple[np.ndarray, np.ndarray],
    kind: tuple[np.ndarray, Sequence[str]],
    numbers: tuple[np.ndarray, np.ndarray],
) -> pa.Table:
    named = {"qid": query, "did": document, "kind": kind}
    columns: dict[str, pa.Array] = {
        name: pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string()))
        for name, (codes, names) in named.items()
    }
    rank, score = numbers
    return pa.table({**columns, "rank": rank.astype(np.int32), "score": score.astype(np.float32)})
