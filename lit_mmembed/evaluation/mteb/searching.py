"""From stores to what mteb takes of a search: {query id: {document id: score}}, in our declared order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lit_mmembed.errors import InputError
from lit_mmembed.retrieval.ids import places_in, string_rank
from lit_mmembed.retrieval.rescoring import settle
from lit_mmembed.retrieval.store import Store
from lit_mmembed.types import Ranking

Found = dict[str, dict[str, float]]


def found(ranking: Ranking) -> Found:
    """A ranking as mteb takes it; see `strictly_falling`."""
    width = int(np.diff(ranking.offsets).max(initial=0))
    score_QK = strictly_falling(ranking.score.reshape(len(ranking.query_ids), width))
    row_QK = ranking.document.reshape(score_QK.shape)
    return _by_id(ranking.query_ids, ranking.document_ids, row_QK, score_QK)


def rerank(queries: Store, pool: Store, given: Mapping[str, Sequence[str]], *, top_k: int) -> Found:
    """Order the documents that a reranking task gives for each query; a query without any gets none.

    Raises:
        InputError: a document that the corpus does not have.
    """
    named = [list(given.get(qid, ())) for qid in queries.ids]
    places = places_in([did for dids in named for did in dids], pool.ids)  # at once: it hashes the whole pool
    rows = np.split(places, np.cumsum([len(dids) for dids in named], dtype=np.int64))[:-1]
    for qid, row in zip(queries.ids, rows, strict=True):
        if (row < 0).any():
            did = given[qid][int((row < 0).argmax())]
            raise InputError(f"document {did} is to be reranked and is not in the corpus", record=str(qid))
    width = max((len(row) for row in rows), default=0)
    row_QK = np.full((len(rows), width), -1, dtype=np.int64)
    for query, row in enumerate(rows):
        row_QK[query, : len(row)] = row
    vectors = np.ascontiguousarray(queries.vectors, dtype=np.float32)
    score_QK, row_QK = settle(vectors, pool.vectors, row_QK, k=top_k, tie_rank=string_rank(pool.ids))
    return _by_id(queries.ids, pool.ids, row_QK, strictly_falling(score_QK))


def strictly_falling(score_QK: np.ndarray) -> np.ndarray:
    """[Q, K] float32 scores in which no two of a query are equal: a later one is lowered to the next number below.

    mteb hands scores to trec_eval, which settles ties by the document's id *down*; our order is id *up*. Without ties
    the order that was declared here is the one that is scored.
    """
    falling = np.array(score_QK, dtype=np.float32)
    for rank in range(1, falling.shape[1]):
        below = np.nextafter(falling[:, rank - 1], np.float32(-np.inf))
        falling[:, rank] = np.minimum(falling[:, rank], below)
    return falling


def _by_id(qids: np.ndarray, dids: np.ndarray, row_QK: np.ndarray, score_QK: np.ndarray) -> Found:
    results: Found = {}
    for qid, row, score in zip(qids, row_QK, score_QK, strict=True):
        kept = row >= 0
        results[str(qid)] = dict(zip(dids[row[kept]].tolist(), score[kept].tolist(), strict=True))
    return results
