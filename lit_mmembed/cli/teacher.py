"""`mmembed mine --teacher` and `--stores`: embed a split, search it and mine, with one command."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lit_mmembed.cli.encoding import embed_split, encoder_of
from lit_mmembed.cli.mining_stages import mine_run
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.encoders.pretrained import weights_hash
from lit_mmembed.errors import InputError
from lit_mmembed.files import PARTIAL, read_json, write_json
from lit_mmembed.progress import progress
from lit_mmembed.retrieval.ids import base_query_ids, places_in
from lit_mmembed.retrieval.pools import is_ranking_of, search_identity, search_local_pools
from lit_mmembed.retrieval.search import search
from lit_mmembed.retrieval.store import Store
from lit_mmembed.types import FOLDERS

if TYPE_CHECKING:
    from lit_mmembed.mining.rules import NegativeRule

MARK = "teacher.json"


def mine_with_teacher(flags: argparse.Namespace, rules: list[NegativeRule] | None) -> None:
    """Mine a split of a data directory by what a model, or embeddings that are there, retrieve.

    Embeddings and ranking lie in OUT.partial until the end: a killed run goes on with them.

    Raises:
        InputError: the embeddings are of other data; or what mining says.
    """
    directory = DataDirectory(flags.data)
    work = flags.out.with_name(flags.out.name + PARTIAL)
    folder = flags.stores or _embedded(flags, directory, work)
    stores = Store(folder / "queries"), Store(folder / "candidates")
    _check_stores(*stores, directory, split=flags.split, pool=flags.pool)
    run = _searched(flags, stores, directory, work)
    queries, candidates = (directory.path / side / flags.split for side in FOLDERS.values())
    mine_run(flags, rules, run=run, queries=queries, candidates=candidates)
    shutil.rmtree(work)


def _embedded(flags: argparse.Namespace, directory: DataDirectory, work: Path) -> Path:
    """Embed both sides of the split below `work`, going on with what the same model left there."""
    encoder = encoder_of(argparse.Namespace(**{**vars(flags), "model": flags.teacher}))
    made_by = {name: getattr(flags, name) for name in ("split", "prompts", "precision", "seed")}
    mark = {**made_by, "weights_hash": weights_hash(encoder), "data_hash": directory.hash}
    if not (work / MARK).exists() or read_json(work / MARK) != mark:
        shutil.rmtree(work, ignore_errors=True)
        write_json(work / MARK, mark)
    embed_split(argparse.Namespace(**{**vars(flags), "model": flags.teacher}), encoder, work / "stores")
    return work / "stores"


def _check_stores(queries: Store, candidates: Store, directory: DataDirectory, *, split: str, pool: str) -> None:
    """Refuse embeddings of other data; a store made by somebody else has no data hash, so the ids are compared.

    Local pools are rows: there the stores must have the directory's order and tasks.
    """
    fix = "encode this data directory"
    for store, reader in ((queries, directory.queries(split)), (candidates, directory.candidates(split))):
        place = places_in(base_query_ids(store.ids), reader.ids)
        if (place < 0).any():
            record = str(store.ids[int((place < 0).argmax())])
            raise InputError(f"is not in {reader.folder}", file=store.path, record=record, fix=fix)
        if pool == "local" and not np.array_equal(store.task, np.asarray(reader.task)[place]):
            raise InputError("has other tasks than the data", file=store.path, fix=f"{fix}, or use --pool global")
    if pool == "local" and not np.array_equal(candidates.ids, directory.candidates(split).ids):
        problem = f"holds other documents than {directory.candidates(split).folder}, or in another order"
        raise InputError(problem, file=candidates.path, fix=f"{fix}, or use --pool global")


def _searched(flags: argparse.Namespace, stores: tuple[Store, Store], directory: DataDirectory, work: Path) -> Path:
    """Search the stores, unless this was done before; return the ranking."""
    depth = max(flags.depth, flags.last or 0)
    run = work / f"run_{flags.pool}.parquet"
    if is_ranking_of(run, search_identity(*stores, depth=depth, index=flags.index)):
        return run
    where = {"depth": depth, "index": flags.index, "device": flags.device}
    if flags.pool == "local":
        search_local_pools(*stores, run, pools=directory.pools(flags.split), **where)
        return run
    queries, candidates = (store.path for store in stores)
    with progress("search", unit="queries") as step:
        search(queries, candidates, run, **where, progress=step)
    return run
