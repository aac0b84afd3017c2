"""Negatives of an older mining that stay when a stage mines again: section 4.1.2 keeps M_rand's wrong-modality ones.

Shapes: M negatives.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lit_mmembed.data.labels import CandidateLabels, QueryLabels
from lit_mmembed.errors import InputError
from lit_mmembed.files import file_hash
from lit_mmembed.mining.table import LabelledRun
from lit_mmembed.retrieval.ids import places_in
from lit_mmembed.retrieval.ranking import METADATA_KEY

NAMES = ("qid", "did", "kind")
COLUMNS = (*NAMES, "rank", "score")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """Rows of an older NEGATIVES.parquet."""

    table: pa.Table
    """[M] qid, did, kind, rank, score, as they were."""
    record: dict[str, Any]
    """Which file (by its hash) and which kinds of it, for the run record."""


def read_kept(path: str | Path, kinds: Sequence[str], *, queries: QueryLabels, candidates: CandidateLabels) -> Kept:
    """Read the rows of some kinds from an older file of negatives.

    Raises:
        InputError: it is no file of negatives or has no such kind; a query or document is not in the data; a document
            is a labelled positive of its query.
    """
    path = Path(path)
    table, mined = _read(path)
    known = {*pc.unique(table["kind"]).to_pylist(), *mined}
    for kind in kinds:
        if kind not in known:
            problem = f"has no negatives of kind {kind!r}"
            raise InputError(problem, file=path, fix=f"keep one of {sorted(known)}, or name another file")
    table = table.filter(pc.is_in(table["kind"], pa.array(list(kinds), pa.string()))).combine_chunks()
    query = _known(table["qid"], queries.ids, path, source=queries.file)
    document = _known(table["did"], candidates.ids, path, source=candidates.file)
    _check_negative(query, document, path, labels=(queries, candidates))
    return Kept(_encoded(table), {"hash": file_hash(path), "kinds": sorted(kinds)})


def with_kept(mined: pa.Table, kept: Kept, run: LabelledRun) -> pa.Table:
    """Put the kept rows of the run's queries beside what was mined.

    Returns:
        Rows in the run's order of queries, then by kind and rank, as `merge_wordings` has them.
    """
    rows = run.query_row[np.sort(np.unique(run.query_row, return_index=True)[1])]
    ids = run.queries.ids[rows]
    inside = places_in(kept.table["qid"].cast(pa.string()).combine_chunks(), ids) >= 0
    if not inside.all():
        log.warning("%d kept negatives are of queries that the ranking does not have", int((~inside).sum()))
    parts = [_encoded(mined), kept.table.filter(pa.array(inside))]
    both = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    columns = {name: both[name].combine_chunks() for name in both.column_names}
    query, kind = (columns[name] for name in ("qid", "kind"))
    kind_order = np.argsort(np.argsort(kind.dictionary.to_numpy(zero_copy_only=False)))
    keys = (
        np.arange(len(both)),
        columns["rank"].to_numpy(),
        kind_order[kind.indices.to_numpy()],
        places_in(query.dictionary.cast(pa.large_string()), ids)[query.indices.to_numpy()],
    )
    return both.take(pa.array(np.lexsort(keys)))


def _read(path: Path) -> tuple[pa.Table, list[str]]:
    """The rows, and the kinds that its run record says were looked for or kept: of one there may be nothing."""
    fix = "name what `mmembed mine` wrote"
    if not path.is_file():
        raise InputError("does not exist", file=path, fix=fix)
    try:
        table = pq.read_table(path, columns=list(COLUMNS))
        plain = {name: pa.chunked_array([table[name].cast(pa.string()).combine_chunks()]) for name in NAMES}
        numbers = {"rank": table["rank"].cast(pa.int32()), "score": table["score"].cast(pa.float32())}
        record = json.loads((table.schema.metadata or {}).get(METADATA_KEY, b"{}"))
    except (OSError, ValueError, KeyError, pa.ArrowException) as broken:
        raise InputError(f"is not a file of negatives: {broken}", file=path, fix=fix) from None
    mining = record.get("mining", {})
    return pa.table({**plain, **numbers}), [*mining.get("rules", []), *mining.get("kept", {}).get("kinds", [])]


def _known(column: pa.ChunkedArray, ids: np.ndarray, path: Path, *, source: Path) -> np.ndarray:
    """[M] the rows of a column's ids among `ids`."""
    names = column.combine_chunks()
    places = places_in(names.cast(pa.large_string()), ids)
    if (places < 0).any():
        record = str(names[int((places < 0).argmax())])
        raise InputError(f"is not in {source}", file=path, record=record, fix="keep negatives that were mined on this")
    return places


def _check_negative(
    query: np.ndarray, document: np.ndarray, path: Path, *, labels: tuple[QueryLabels, CandidateLabels]
) -> None:
    """Refuse a document that is a positive of its query."""
    queries, candidates = labels
    rows, owner = np.unique(query, return_inverse=True)
    listed = [queries.positives(int(row)) for row in rows]
    positive = places_in([did for dids in listed for did in dids], candidates.ids)
    width = len(candidates.ids)
    labelled = np.repeat(np.arange(len(rows)), [len(dids) for dids in listed]) * width + positive
    clash = np.isin(owner * width + document, labelled[positive >= 0])
    if clash.any():
        row = int(clash.argmax())
        record = f"query {queries.ids[query[row]]}, document {candidates.ids[document[row]]}"
        raise InputError("is positive and negative at once", file=path, record=record, fix="mine this file again")


def _encoded(table: pa.Table) -> pa.Table:
    """The names as dictionaries of strings: as `merge_wordings` has them."""
    kind = pa.dictionary(pa.int32(), pa.string())
    columns = {name: table[name] if table[name].type == kind else table[name].dictionary_encode() for name in NAMES}
    return pa.table({**columns, "rank": table["rank"], "score": table["score"]})
