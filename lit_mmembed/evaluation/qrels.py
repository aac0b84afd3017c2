"""Relevance judgements on disk (`qid 0 did relevance`, M-BEIR adds task_id) and a ranking seen through them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_file
from lit_mmembed.metrics.ranking import Judged
from lit_mmembed.retrieval.ids import arrow_ids, as_arrow, base_query_ids, places_in
from lit_mmembed.retrieval.trec import line_of, read_columns
from lit_mmembed.types import Ranking

LAYOUTS = {4: ("qid", "_0", "did", "relevance"), 5: ("qid", "_0", "did", "relevance", "task_id")}
NUMERIC = {"relevance": pa.int64(), "task_id": pa.int64()}
MARKS = 64
BLOCK_ROWS = 1 << 16


@dataclass(frozen=True)
class Qrels:
    """Judgements: J pairs of Q queries and D documents; positive = relevance > 0."""

    query_ids: np.ndarray
    """[Q] object array of str, in the file's order."""
    document_ids: np.ndarray
    """[D] object array of str."""
    query: np.ndarray
    """[J] int64: index into `query_ids`."""
    document: np.ndarray
    """[J] int64: index into `document_ids`."""
    relevance: np.ndarray
    """[J] int64."""
    task_id: np.ndarray | None = None
    """[Q] M-BEIR's task number of each query, where the file has a fifth column."""
    file: Path | None = None
    """Where they were read from; named by errors."""

    @cached_property
    def positives(self) -> tuple[np.ndarray, np.ndarray]:
        """[P] cells (query * D + document) of the positives, ascending, and their relevance."""
        rows = np.flatnonzero(self.relevance > 0)
        cell = self.query[rows] * len(self.document_ids) + self.document[rows]
        order = np.argsort(cell)
        return cell[order], self.relevance[rows][order]

    @cached_property
    def arrow_query_ids(self) -> pa.Array:
        """[Q] `query_ids` as Arrow has them."""
        return as_arrow(self.query_ids)

    @cached_property
    def arrow_document_ids(self) -> pa.Array:
        """[D] `document_ids` as Arrow has them."""
        return as_arrow(self.document_ids)

    @cached_property
    def ideal(self) -> tuple[np.ndarray, np.ndarray]:
        """[P] queries of the positives, ascending, and their relevance, descending within a query."""
        cells, relevance = self.positives
        query = cells // max(1, len(self.document_ids))
        order = np.lexsort((-relevance, query))
        return query, relevance[order]

    @cached_property
    def marks(self) -> np.ndarray:
        """[D + 1] bit `query % MARKS` is set where the document is a positive of such a query; 0 for an unknown one.

        A filter: it rules out most rows of a ranking before the exact search.
        """
        marks = np.zeros(len(self.document_ids) + 1, dtype=np.uint64)
        rows = np.flatnonzero(self.relevance > 0)
        np.bitwise_or.at(marks, self.document[rows], _bit(self.query[rows]))
        return marks


def read_qrels(path: str | Path) -> Qrels:
    """Read judgements of four or five columns.

    Raises:
        InputError: a broken line, a pair judged twice, a query with two task numbers; names file and line.
    """
    path = Path(path)
    columns = read_columns(path, LAYOUTS, numeric=NUMERIC)
    query, document = (columns[name].dictionary_encode() for name in ("qid", "did"))
    qrels = Qrels(
        query_ids=query.dictionary.to_numpy(zero_copy_only=False),
        document_ids=document.dictionary.to_numpy(zero_copy_only=False),
        query=query.indices.to_numpy().astype(np.int64),
        document=document.indices.to_numpy().astype(np.int64),
        relevance=columns["relevance"].to_numpy(),
        file=path,
    )
    _check_pairs(qrels, path)
    if "task_id" not in columns:
        return qrels
    task_id = _task_of_query(qrels, columns["task_id"].to_numpy(), path)
    return Qrels(**{**vars(qrels), "task_id": task_id})


def write_qrels(path: str | Path, qrels: Qrels) -> None:
    """Write judgements, with M-BEIR's fifth column where the task numbers are known, atomically."""
    rows = zip(qrels.query, qrels.document, qrels.relevance, strict=True)
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8") as stream:
        for query, document, relevance in rows:
            end = "" if qrels.task_id is None else f" {qrels.task_id[query]}"
            stream.write(f"{qrels.query_ids[query]} 0 {qrels.document_ids[document]} {relevance}{end}\n")


def check_known(qrels: Qrels, ids: np.ndarray | list[str], *, side: str, file: str | Path) -> None:
    """Check that the queries (side "query") or documents ("document") judged are among `ids`, which `file` holds.

    Raises:
        InputError: names the qrels' file and line.
    """
    codes, names = (qrels.query, qrels.query_ids) if side == "query" else (qrels.document, qrels.document_ids)
    unknown = places_in(names, ids) < 0
    if not unknown.any():
        return
    row = int(unknown[codes].argmax())
    place = f"line {line_of(qrels.file, row)}" if qrels.file else f"row {row + 1}"
    raise InputError(
        f"{side} {names[codes[row]]} is not in {file}", file=qrels.file, record=place, fix="give the files of one split"
    )


def judge(ranking: Ranking, qrels: Qrels) -> tuple[Judged, np.ndarray]:
    """See a ranking through judgements.

    Returns:
        The judged rankings, one per query of `ranking` in its order, and [Q] which query of `qrels` each is a ranking
        of: several rankings of one query differ in their wording (`#w1`, `#w2`, ...).

    Raises:
        InputError: the run has a query that was not judged.
    """
    judged_query = places_in(base_query_ids(arrow_ids(ranking)[0]), qrels.arrow_query_ids)
    if (judged_query < 0).any():
        qid = ranking.query_ids[int((judged_query < 0).argmax())]
        raise InputError(
            f"query {qid} of the run is not judged", file=qrels.file, fix="give run and qrels of one split"
        )
    rows, query, relevance = _positive_rows(ranking, qrels, judged_query)
    every_query, every_relevance = _judged_positives(qrels, judged_query)
    judged = Judged(
        queries=len(judged_query),
        query=query,
        rank=rows - ranking.offsets[query] + 1,
        relevance=relevance,
        judged_query=every_query,
        judged_relevance=every_relevance,
    )
    return judged, judged_query


def _positive_rows(
    ranking: Ranking, qrels: Qrels, judged_query: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows [H] of the ranking that are positives, their rankings and their relevance."""
    document = places_in(arrow_ids(ranking)[1], qrels.arrow_document_ids)
    rows = _marked_rows(ranking, qrels.marks[document], _bit(judged_query))
    query = np.searchsorted(ranking.offsets, rows, side="right") - 1
    wanted = judged_query[query] * len(qrels.document_ids) + document[ranking.document[rows]]
    cells, relevance = qrels.positives
    place = np.minimum(np.searchsorted(cells, wanted), max(0, len(cells) - 1))
    found = np.flatnonzero(cells[place] == wanted)
    return rows[found], query[found], relevance[place[found]]


def _marked_rows(ranking: Ranking, marks: np.ndarray, bit: np.ndarray) -> np.ndarray:
    """Rows where the document's marks [D] have the query's bit [Q]; in blocks of queries that stay in the cache."""
    offsets, count = ranking.offsets, np.diff(ranking.offsets)
    edges = np.unique(np.searchsorted(offsets, np.arange(0, offsets[-1] + BLOCK_ROWS, BLOCK_ROWS)))
    found = [np.zeros(0, dtype=np.int64)]
    for first, last in pairwise(np.minimum(edges, len(count)).tolist()):
        mark = marks.take(ranking.document[offsets[first] : offsets[last]])
        found.append(offsets[first] + np.flatnonzero((mark & np.repeat(bit[first:last], count[first:last])) != 0))
    return np.concatenate(found)


def _bit(query: np.ndarray) -> np.ndarray:
    return np.left_shift(np.uint64(1), (query % MARKS).astype(np.uint64))


def _judged_positives(qrels: Qrels, judged_query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every positive [P] of each query of the run, best relevance first."""
    owner, relevance = qrels.ideal
    if np.array_equal(judged_query, np.arange(len(qrels.query_ids))):
        return owner, relevance
    every = np.searchsorted(owner, np.arange(len(qrels.query_ids) + 1))
    begin, count = every[judged_query], np.diff(every)[judged_query]
    query = np.repeat(np.arange(len(judged_query)), count)
    within = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
    return query, relevance[begin[query] + within]


def _check_pairs(qrels: Qrels, path: Path) -> None:
    cell = qrels.query * len(qrels.document_ids) + qrels.document
    first = np.unique(cell, return_index=True)[1]
    if len(first) == len(cell):
        return
    row = int(np.setdiff1d(np.arange(len(cell)), first)[0])
    pair = f"{qrels.query_ids[qrels.query[row]]} {qrels.document_ids[qrels.document[row]]}"
    raise InputError(f"{pair} is judged twice", file=path, record=f"line {line_of(path, row)}", fix="keep one line")


def _task_of_query(qrels: Qrels, task_id: np.ndarray, path: Path) -> np.ndarray:
    by_query = np.empty(len(qrels.query_ids), dtype=np.int64)
    by_query[qrels.query[::-1]] = task_id[::-1]
    other = by_query[qrels.query] != task_id
    if other.any():
        row = int(other.argmax())
        problem = f"query {qrels.query_ids[qrels.query[row]]} has two task numbers"
        raise InputError(problem, file=path, record=f"line {line_of(path, row)}", fix="give it one")
    return by_query
