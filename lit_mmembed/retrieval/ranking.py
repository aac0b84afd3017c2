"""Rankings on disk: Parquet (qid, did, rank, score) or a TREC run, and the one order that both are brought into.

Order within a query: score down, then document id up by code points. Scores are float32; ties are ties of float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_file
from lit_mmembed.retrieval.ids import ARROW_IDS, WORDING, as_arrow, string_rank
from lit_mmembed.retrieval.trec import line_of, read_columns
from lit_mmembed.types import Ranking

PARQUET_MAGIC = b"PAR1"
METADATA_KEY = b"mmembed"
TREC_LAYOUTS = {
    6: ("qid", "_Q0", "did", "_rank", "score", "_run_id"),
    7: ("qid", "_Q0", "did", "_rank", "score", "_run_id", "_task_id"),
}


def read_ranking(path: str | Path) -> Ranking:
    """Read a ranking, Parquet or TREC (told by content), and bring it into order; the ranks in the file are not used.

    Raises:
        InputError: a broken line, a score that is not a number, a document twice for a query; names file and line.
    """
    path = Path(path)
    if is_parquet(path):
        columns, unit = _read_parquet(path), "row"
    else:
        columns, unit = read_columns(path, TREC_LAYOUTS, numeric={"score": pa.float64()}), "line"
    if not len(columns["qid"]):
        raise InputError("holds no ranking", file=path, fix="search again")
    try:
        return _order(columns["qid"], columns["did"], columns["score"].to_numpy(zero_copy_only=False))
    except _Broken as broken:
        place = line_of(path, broken.row) if unit == "line" else broken.row + 1
        raise InputError(str(broken), file=path, record=f"{unit} {place}", fix=broken.fix) from None


def write_ranking(
    path: str | Path,
    ranking: Ranking,
    *,
    record: Mapping[str, Any] | None = None,
    trec: bool = False,
    run_id: str = "mmembed",
    query_tasks: Mapping[str, int] | None = None,
) -> None:
    """Write a ranking, atomically.

    Args:
        path: The target.
        ranking: What to write.
        record: What produced it; kept in the Parquet file's key-value metadata under `mmembed`.
        trec: Write a TREC run instead of Parquet. It holds no record.
        run_id: The sixth column of a TREC run.
        query_tasks: M-BEIR's task number of each query: written as a seventh column of a TREC run.
    """
    with atomic_file(path) as partial:
        if trec:
            _write_trec(partial, ranking, run_id, query_tasks)
        else:
            _write_parquet(partial, ranking, record or {})


def ranking_record(path: str | Path) -> dict[str, Any]:
    """The run record that a Parquet ranking carries; empty for a TREC run and for a file of another program."""
    if not is_parquet(Path(path)):
        return {}
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(METADATA_KEY, b"{}"))


def from_pairs(
    qids: list[str] | np.ndarray, dids: list[str] | np.ndarray, scores: Sequence[float] | np.ndarray
) -> Ranking:
    """Build a ranking from rows in any order; queries keep the order of their first row.

    Raises:
        InputError: a score is NaN, or a document stands twice for a query.
    """
    try:
        return _order(as_arrow(qids), as_arrow(dids), np.asarray(scores))
    except _Broken as broken:
        raise InputError(str(broken), record=f"row {broken.row + 1}", fix=broken.fix) from None


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet files do; InputError when there is no such file."""
    try:
        with path.open("rb") as stream:
            return stream.read(4) == PARQUET_MAGIC
    except (FileNotFoundError, IsADirectoryError):
        raise InputError("does not exist", file=path, fix="name a Parquet ranking or a TREC run") from None


def lengths(ranking: Ranking) -> np.ndarray:
    """[Q] number of documents of each query."""
    return np.diff(ranking.offsets)


class _Broken(Exception):
    def __init__(self, problem: str, row: int, fix: str) -> None:
        super().__init__(problem)
        self.row = row
        self.fix = fix


def _order(qid: pa.Array, did: pa.Array, score: np.ndarray) -> Ranking:
    with np.errstate(over="ignore"):  # 1e39 becomes infinity, which is ordered like any other score
        score = np.asarray(score).astype(np.float32)
    if np.isnan(score).any():
        row = int(np.isnan(score).argmax())
        raise _Broken(f"the score of {did[row]} for {qid[row]} is not a number", row, "score it, or leave it out")
    query, query_ids = _codes(qid)
    document, document_ids = _codes(did)
    _check_once(query, document, (query_ids, document_ids))
    if not _is_ordered(query, document_ids, document, score):
        order = np.lexsort((string_rank(document_ids)[document], -score, query))
        query, document, score = query[order], document[order], score[order]
    offsets = np.searchsorted(query, np.arange(len(query_ids) + 1))
    names = [ids.to_numpy(zero_copy_only=False) for ids in (query_ids, document_ids)]
    ranking = Ranking(names[0], names[1], document, score, offsets)
    vars(ranking)[ARROW_IDS] = query_ids, document_ids
    return ranking


def _codes(column: pa.Array) -> tuple[np.ndarray, pa.Array]:
    """Number the distinct strings in the order of their first row."""
    encoded = column.dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary


def _check_once(query: np.ndarray, document: np.ndarray, names: tuple[pa.Array, pa.Array]) -> None:
    cell = query.astype(np.int64) * len(names[1]) + document
    ordered = np.sort(cell)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(repeated):
        return
    row = _second_rows(cell, repeated)
    qid, did = names[0][int(query[row])], names[1][int(document[row])]
    raise _Broken(f"document {did} stands twice for query {qid}", row, "keep one of the two rows")


def _second_rows(cell: np.ndarray, repeated: np.ndarray) -> int:
    """The first row whose cell stood on an earlier row."""
    rows = np.flatnonzero(np.isin(cell, repeated))
    first = np.unique(cell[rows], return_index=True)[1]
    return int(np.delete(rows, first)[0])


def _is_ordered(query: np.ndarray, names: pa.Array, document: np.ndarray, score: np.ndarray) -> bool:
    same = query[1:] == query[:-1]
    if (query[1:] < query[:-1]).any() or (same & (score[1:] > score[:-1])).any():
        return False
    ties = np.flatnonzero(same & (score[1:] == score[:-1]))
    upper, lower = names.take(document[ties]), names.take(document[ties + 1])
    return bool(pc.all(pc.less(upper, lower)).as_py()) if len(ties) else True


def _read_parquet(path: Path) -> dict[str, pa.Array]:
    try:
        table = pq.read_table(path, columns=["qid", "did", "score"])
        kinds = {"qid": pa.large_string(), "did": pa.large_string(), "score": pa.float64()}
        columns = {name: table[name].cast(kind).combine_chunks() for name, kind in kinds.items()}
    except (OSError, KeyError, pa.ArrowException) as broken:
        problem = f"is not a ranking of columns qid, did, score: {broken}"
        raise InputError(problem, file=path, fix="search again") from None
    for name in ("qid", "did"):
        if columns[name].null_count:
            row = int(columns[name].is_null().to_numpy(zero_copy_only=False).argmax())
            raise InputError(f"{name} is empty", file=path, record=f"row {row + 1}", fix="search again")
    return columns


def _write_parquet(path: Path, ranking: Ranking, record: Mapping[str, Any]) -> None:
    rows = len(ranking.document)
    count = lengths(ranking)
    rank = np.arange(1, rows + 1) - np.repeat(ranking.offsets[:-1], count)
    query = np.repeat(np.arange(len(ranking.query_ids), dtype=np.int32), count)
    table = pa.table(
        {
            "qid": _dictionary(query, ranking.query_ids),
            "did": _dictionary(ranking.document, ranking.document_ids),
            "rank": pa.array(rank.astype(np.int32)),
            "score": pa.array(ranking.score),
        }
    )
    content = json.dumps(record, sort_keys=True, ensure_ascii=False, default=str)
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: content.encode()}), path, compression="zstd")


def _dictionary(codes: np.ndarray, names: np.ndarray) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string()))


def _write_trec(path: Path, ranking: Ranking, run_id: str, query_tasks: Mapping[str, int] | None) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for place, qid in enumerate(ranking.query_ids):
            end = f" {run_id}" if query_tasks is None else f" {run_id} {query_tasks[WORDING.sub('', qid)]}"
            begin, stop = ranking.offsets[place], ranking.offsets[place + 1]
            rows = zip(ranking.document[begin:stop], ranking.score[begin:stop], strict=True)
            stream.writelines(
                f"{qid} Q0 {ranking.document_ids[document]} {rank} {score!s}{end}\n"
                for rank, (document, score) in enumerate(rows, start=1)
            )
