"""CIRR's subsets, scored from embeddings: their pictures seldom stand among a query's best fifty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.composed.queries import ComposedQuery
from lit_mmembed.record import run_record
from lit_mmembed.retrieval.ids import base_query_ids, places_in
from lit_mmembed.retrieval.ranking import from_pairs, write_ranking
from lit_mmembed.retrieval.search import KEPT
from lit_mmembed.retrieval.store import Store, check_same_weights


def rank_subsets(queries: Store, candidates: Store, out: Path, *, asked: Sequence[ComposedQuery]) -> None:
    """Rank the members of each query's subset, the reference left out, and write the ranking.

    Args:
        queries: Store of the queries.
        candidates: Store of the gallery.
        out: The ranking, as Parquet.
        asked: The queries with their subsets.

    Raises:
        InputError: the stores were made by different weights, or a member was not embedded.
    """
    check_same_weights(queries, candidates)
    owner = places_in(base_query_ids(queries.ids), [query.id for query in asked])
    qids: list[str] = []
    dids: list[str] = []
    scores: list[float] = []
    for row, place in enumerate(owner):
        members = asked[place].members if place >= 0 else ()
        rows = places_in(list(members), candidates.ids)
        if (rows < 0).any():
            record = members[int((rows < 0).argmax())]
            raise InputError("was not embedded", file=candidates.path, record=record, fix="encode the whole gallery")
        vectors = np.asarray(candidates.vectors[rows], dtype=np.float32)
        qids += [queries.ids[row]] * len(members)
        dids += members
        scores += list(vectors @ np.asarray(queries.vectors[row], dtype=np.float32))
    record = run_record(**{name: queries.manifest.get(name) for name in KEPT}, **subset_identity(queries, candidates))
    write_ranking(out, from_pairs(qids, dids, scores), record=record)


def subset_identity(queries: Store, candidates: Store) -> dict[str, str]:
    """What a ranking's record says of the subsets of these stores."""
    hashes = {"queries_hash": queries.manifest["hash"], "candidates_hash": candidates.manifest["hash"]}
    return {**hashes, "pool": "subset"}
