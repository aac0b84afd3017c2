"""Search of each task's queries over its own pool, as M-BEIR's local evaluation does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lit_mmembed.errors import InputError
from lit_mmembed.record import run_record
from lit_mmembed.retrieval.index import IndexKind
from lit_mmembed.retrieval.ranking import ranking_record, write_ranking
from lit_mmembed.retrieval.search import KEPT, join_rankings, search_stores
from lit_mmembed.retrieval.store import Store


def search_local_pools(
    queries: Store,
    candidates: Store,
    out: str | Path,
    *,
    pools: Mapping[str, np.ndarray],
    depth: int = 50,
    index: IndexKind = "exact",
    device: str = "auto",
    record: Mapping[str, Any] | None = None,
) -> None:
    """Find the best `depth` documents of every query in its task's pool and write one ranking.

    Args:
        queries: Store of the queries; its task indices count in the order of `pools`.
        candidates: Store of the documents of all pools.
        out: The ranking, as Parquet.
        pools: Task name -> rows of its pool among `candidates` (`DataDirectory.pools`).
        depth: Documents per query.
        index: `exact` or `faiss`.
        device: auto, cpu or cuda.
        record: What the ranking says made it; by default the stores, the settings and `pool`.

    Raises:
        InputError: the pool of a task that has queries is empty; the stores were made by different weights.
    """
    rankings = []
    for task, (name, pool) in enumerate(pools.items()):
        rows = np.flatnonzero(queries.task == task)
        if not len(rows):
            continue
        if not len(pool):
            raise InputError("the local pool is empty", file=candidates.path, record=name, fix="shard the data again")
        rankings.append(
            search_stores(
                queries,
                candidates,
                query_rows=rows,
                candidate_rows=np.sort(pool),
                depth=depth,
                index=index,
                device=device,
            )
        )
    if not rankings:
        raise InputError("holds no query of a task", file=queries.path, fix="encode this data directory")
    made_by = search_identity(queries, candidates, depth=depth, index=index, pool="local")
    kept = {name: queries.manifest.get(name) for name in KEPT}
    write_ranking(out, join_rankings(rankings), record=record or run_record(**kept, **made_by))


def search_identity(queries: Store, candidates: Store, *, depth: int, index: str, **more: Any) -> dict[str, Any]:
    """What a ranking's record says of a search of these stores under these settings."""
    hashes = {"queries_hash": queries.manifest["hash"], "candidates_hash": candidates.manifest["hash"]}
    return {**hashes, "depth": depth, "index": index, **more}


def is_ranking_of(run: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a ranking is there and is of these stores and settings."""
    return run.exists() and identity.items() <= ranking_record(run).items()
