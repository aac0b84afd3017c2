"""From two stores to a ranking, in query blocks that are kept: a killed search goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lit_mmembed.errors import InputError
from lit_mmembed.files import PARTIAL, atomic_file, content_hash, read_json, write_json
from lit_mmembed.record import run_record
from lit_mmembed.retrieval.ids import string_rank
from lit_mmembed.retrieval.index import IndexKind, make_index
from lit_mmembed.retrieval.ranking import write_ranking
from lit_mmembed.retrieval.store import Store, check_same_weights
from lit_mmembed.types import Ranking

TREC_ENDINGS = (".trec", ".txt", ".run")
KEPT = ("weights_hash", "data_hash", "split", "prompts", "training")


def search(
    queries: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    depth: int = 50,
    index: IndexKind = "exact",
    device: str = "auto",
    query_block: int = 4096,
    tile: int = 32768,
    progress: Callable[..., None] | None = None,
) -> Ranking:
    """Find the best `depth` documents of every query and write the ranking.

    Memory is bounded by tile x query block and the ids. Finished blocks lie in OUT.partial until the end.

    Args:
        queries: Store of the queries.
        candidates: Store of the documents: the pool.
        out: The ranking: Parquet, or a TREC run where the name ends with .trec, .txt or .run.
        depth: Documents per query.
        index: `exact` or `faiss`.
        device: auto, cpu or cuda.
        query_block: Queries in memory at a time.
        tile: Documents in memory at a time.
        progress: Called with the number of queries done (and total=).

    Raises:
        InputError: the stores were made by different weights, or are damaged; a number is not positive.
    """
    out, query_store, pool = Path(out), Store(queries), Store(candidates)
    check_same_weights(query_store, pool)
    _check_positive(depth=depth, query_block=query_block, tile=tile)
    if out.is_dir():
        raise InputError("is a folder", file=out, fix="name a file for the ranking")
    hashes = [store.manifest["hash"] for store in (query_store, pool)]
    finder = make_index(index, pool.vectors, tie_rank=string_rank(pool.ids), device=device, tile=tile)
    # Not the tile and the device: whoever lowers them after running out of memory goes on with the blocks at hand.
    blocks = _Blocks(out, content_hash([*hashes, depth, index, query_block]))
    if progress:
        progress(0, total=len(query_store))
    parts = []
    for start in range(0, len(query_store), query_block):
        rows = slice(start, min(start + query_block, len(query_store)))
        found = blocks.read(start)
        if found is None:
            found = finder.search(query_store.vectors[rows], depth)
            blocks.write(start, *found)
        parts.append(found)
        if progress:
            progress(rows.stop - rows.start)
    ranking = _ranking(parts, query_store.ids, pool.ids)
    record = run_record(
        **{name: query_store.manifest.get(name) for name in KEPT},
        queries_hash=hashes[0], candidates_hash=hashes[1], depth=depth, index=index,
    )  # fmt: skip
    write_ranking(out, ranking, record=record, trec=out.suffix in TREC_ENDINGS)
    blocks.remove()
    return ranking


def search_stores(
    queries: Store,
    candidates: Store,
    *,
    query_rows: np.ndarray | None = None,
    candidate_rows: np.ndarray | None = None,
    depth: int = 50,
    index: IndexKind = "exact",
    device: str = "auto",
    query_block: int = 4096,
    tile: int = 32768,
) -> Ranking:
    """Search some rows of a store among some rows of another, in memory: local pools, notebooks.

    Args:
        queries: Store of the queries.
        candidates: Store of the documents.
        query_rows: [q] rows of the queries; None means all.
        candidate_rows: [n] rows of the pool; None means all.
        depth: Documents per query.
        index: `exact` or `faiss`.
        device: auto, cpu or cuda.
        query_block: Queries at a time.
        tile: Documents at a time.

    Raises:
        InputError: the stores were made by different weights; a number is not positive.
    """
    check_same_weights(queries, candidates)
    _check_positive(depth=depth, query_block=query_block, tile=tile)
    pool = candidates.vectors if candidate_rows is None else candidates.vectors[candidate_rows]
    names = candidates.ids if candidate_rows is None else candidates.ids[candidate_rows]
    wanted = np.arange(len(queries)) if query_rows is None else np.asarray(query_rows)
    finder = make_index(index, pool, tie_rank=string_rank(names), device=device, tile=tile)
    parts = [
        finder.search(queries.vectors[wanted[start : start + query_block]], depth)
        for start in range(0, len(wanted), query_block)
    ]
    return _ranking(parts, queries.ids[wanted], names)


def join_rankings(rankings: Sequence[Ranking]) -> Ranking:
    """Put rankings of different queries over pools of their own into one."""
    names, place = np.unique(np.concatenate([ranking.document_ids for ranking in rankings]), return_inverse=True)
    starts = np.cumsum([0, *(len(ranking.document_ids) for ranking in rankings)])
    ends = np.cumsum([0, *(len(ranking.document) for ranking in rankings)])
    return Ranking(
        query_ids=np.concatenate([ranking.query_ids for ranking in rankings]),
        document_ids=names,
        document=np.concatenate(
            [place[start + ranking.document] for start, ranking in zip(starts[:-1], rankings, strict=True)]
        ),
        score=np.concatenate([ranking.score for ranking in rankings]),
        offsets=np.concatenate(
            [[0], *(ranking.offsets[1:] + end for end, ranking in zip(ends[:-1], rankings, strict=True))]
        ),
    )


Found = tuple[np.ndarray, np.ndarray]


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise InputError(f"{name.replace('_', ' ')} {number} is not positive", fix="give at least 1")


def _ranking(parts: list[Found], query_ids: np.ndarray, document_ids: np.ndarray) -> Ranking:
    nothing = np.empty((0, 0), dtype=np.float32), np.empty((0, 0), dtype=np.int64)
    score, row = (np.concatenate(part) for part in zip(*(parts or [nothing]), strict=True))
    return Ranking(
        query_ids=query_ids,
        document_ids=document_ids,
        document=row.reshape(-1),
        score=score.reshape(-1),
        offsets=np.arange(len(query_ids) + 1, dtype=np.int64) * score.shape[1],
    )


class _Blocks:
    """Finished query blocks beside the ranking, under the fingerprint of what is searched."""

    def __init__(self, out: Path, fingerprint: str) -> None:
        self.folder = out.with_name(out.name + PARTIAL)
        mark = self.folder / "search.json"
        if not mark.exists() or read_json(mark) != fingerprint:
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(mark, fingerprint)

    def read(self, start: int) -> Found | None:
        path = self._path(start)
        if not path.exists():
            return None
        with np.load(path) as arrays:
            return arrays["score"], arrays["row"]

    def write(self, start: int, score: np.ndarray, row: np.ndarray) -> None:
        with atomic_file(self._path(start)) as partial, partial.open("wb") as stream:
            np.savez(stream, score=score, row=row)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:012d}.npz"
