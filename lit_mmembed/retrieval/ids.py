"""Ids of queries and documents: finding many among many, and the mark that names a query's wording."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_mmembed.types import Ranking

ARROW_IDS = "_arrow_ids"
WORDING = re.compile(r"#w\d+$")
"""What the prompt policy `all` appends to a query's id: one ranking per wording."""


def base_query_ids(query_ids: np.ndarray | pa.Array) -> np.ndarray | pa.Array:
    """[Q] the queries' ids without the mark of their wording (#w1, #w2, ...)."""
    if not pc.any(pc.match_substring(as_arrow(query_ids), "#w")).as_py():
        return query_ids
    return np.array([WORDING.sub("", str(qid)) for qid in query_ids], dtype=object)


def arrow_ids(ranking: Ranking) -> tuple[pa.Array, pa.Array]:
    """Both ids of a ranking as Arrow has them, queries first: made once, kept with it as a cached property is."""
    kept = vars(ranking)
    if ARROW_IDS not in kept:
        kept[ARROW_IDS] = as_arrow(ranking.query_ids), as_arrow(ranking.document_ids)
    return kept[ARROW_IDS]


def places_in(names: np.ndarray | list[str] | pa.Array, among: np.ndarray | list[str] | pa.Array) -> np.ndarray:
    """[len(names)] int64: where each name stands among others, -1 where it does not."""
    names, among = as_arrow(names), as_arrow(among)
    if names.equals(among):  # the usual case for queries: 20 times as fast
        return np.arange(len(names))
    places = pc.index_in(names, value_set=among)
    return places.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def string_rank(names: np.ndarray | list[str] | pa.Array) -> np.ndarray:
    """[n] int64: the place of each id in string order, which settles ties. Arrow compares UTF-8: by code points."""
    order = pc.sort_indices(as_arrow(names)).to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def as_arrow(names: np.ndarray | list[str] | pa.Array) -> pa.Array:
    """The names as Arrow's large strings."""
    return names if isinstance(names, pa.Array) else pa.array(names, pa.large_string())
