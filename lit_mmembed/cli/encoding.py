"""`mmembed encode` and `mmembed evaluate --model`: what needs a model and a data directory together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from lit_mmembed.cli.tables import print_scores
from lit_mmembed.data.datamodule import RetrievalData, collections
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.pretrained import load_encoder, training_record, weights_hash
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.cells import HEADLINE
from lit_mmembed.evaluation.mbeir import evaluate
from lit_mmembed.files import atomic_file, write_json
from lit_mmembed.progress import progress
from lit_mmembed.retrieval.pools import is_ranking_of, search_identity, search_local_pools
from lit_mmembed.retrieval.ranking import ranking_record
from lit_mmembed.retrieval.search import search
from lit_mmembed.retrieval.store import Store
from lit_mmembed.training.encoding import encode_collection
from lit_mmembed.types import FOLDERS, Score, Side

STORES = "stores"
SHOWN = (("hit", 1), ("hit", 5), ("modality_accuracy", 1))


def encode(flags: argparse.Namespace) -> None:
    """Embed one shard set into OUT, or both sides of a split into OUT/queries and OUT/candidates."""
    encoder = encoder_of(flags)
    if (flags.data / "queries").is_dir() or (flags.data / "candidates").is_dir():
        embed_split(flags, encoder, flags.out)
        return
    ((side, split),) = collections(f"{flags.data.parent.name}/{flags.data.name}")
    data = _data(flags, flags.data.parent.parent, encoder)
    _embed(flags, encoder, data, (side, split), flags.out)


def evaluate_model(flags: argparse.Namespace) -> list[Score]:
    """Embed (where no stores are given), search the global and the local pools, score.

    It is searched at least as deep as the largest cut-off: a recall@100 of fifty documents would be another measure.
    OUT gets the stores, run.parquet, run_local.parquet, scores.jsonl and training.json: what produced the weights.
    """
    directory = DataDirectory(flags.data)
    flags.depth = max(flags.depth, *flags.k, *(task.cutoff for task in directory.tasks))
    sides = embedded(flags, directory)
    run = search_globally(flags, sides)
    scores = _score(flags, directory, run, "global")
    local = search_locally(flags, sides, directory, record=ranking_record(run))
    scores += _score(flags, directory, local, "local")
    _join(flags.out)
    write_json(flags.out / "training.json", sides[0].manifest.get("training", {}))
    print_scores([score for score in scores if (score.metric, score.k) in SHOWN or score.metric == HEADLINE])
    return scores


def embedded(flags: argparse.Namespace, directory: DataDirectory) -> tuple[Store, Store]:
    """The stores of a split's queries and documents: those given, or OUT/stores, made where they are missing."""
    if flags.model:
        embed_split(flags, encoder_of(flags), flags.out / STORES)
    folder = flags.stores or flags.out / STORES
    stores = {side: folder / FOLDERS[side] for side in FOLDERS}
    _check_data(directory, stores)
    return Store(stores[Side.QUERY]), Store(stores[Side.CANDIDATE])


def search_globally(flags: argparse.Namespace, sides: tuple[Store, Store]) -> Path:
    """OUT/run.parquet, made where it is not there of these stores and settings."""
    run = flags.out / "run.parquet"
    if not is_ranking_of(run, search_identity(*sides, depth=flags.depth, index=flags.index)):
        with progress("search", unit="queries") as step:
            search(sides[0].path, sides[1].path, run, **_where(flags), progress=step)
    return run


def search_locally(
    flags: argparse.Namespace,
    sides: tuple[Store, Store],
    directory: DataDirectory,
    *,
    record: Mapping[str, Any] | None = None,
) -> Path:
    """OUT/run_local.parquet, over each task's own pool, made where it is not there."""
    run = flags.out / "run_local.parquet"
    if not is_ranking_of(run, search_identity(*sides, depth=flags.depth, index=flags.index)):
        search_local_pools(*sides, run, pools=directory.pools(flags.split), **_where(flags), record=record)
    return run


def _where(flags: argparse.Namespace) -> dict[str, Any]:
    return {"depth": flags.depth, "index": flags.index, "device": flags.device}


def _check_data(directory: DataDirectory, stores: dict[Side, Path]) -> None:
    """Refuse stores of other data: their ids would be looked for in the wrong qrels."""
    for store in stores.values():
        if Store(store).manifest["data_hash"] != directory.hash:
            raise InputError(f"was not made from {directory.path}", file=store, fix="encode this data directory")


def embed_split(flags: argparse.Namespace, encoder: Encoder, out: Path) -> None:
    """Embed both sides of a split into OUT/queries and OUT/candidates."""
    data = _data(flags, flags.data, encoder)
    for side in FOLDERS:
        _embed(flags, encoder, data, (side, flags.split), out / FOLDERS[side])


def encoder_of(flags: argparse.Namespace) -> Encoder:
    """Load the model that the flags name, ready to embed."""
    encoder = load_encoder(flags.model, allow=tuple(flags.allow_imports))
    return encoder.eval().to(_device(flags.device))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _data(flags: argparse.Namespace, path: Path, encoder: Encoder) -> RetrievalData:
    data = RetrievalData(
        path,
        prompts=flags.prompts,
        workers=flags.workers,
        encode_rows=flags.rows,
        encode_tokens=flags.tokens,
        seed=flags.seed,
    )
    data.connect(encoder.preprocess)
    return data


def _embed(flags: argparse.Namespace, encoder: Encoder, data: RetrievalData, what: tuple[Side, str], out: Path) -> None:
    side, split = what
    weights = weights_hash(encoder)
    if out.exists():
        _check_made_by(out, weights, str(data.prompts) if side is Side.QUERY else None)
        return
    total = len(data.rows_to_encode(side, split))
    with progress(f"encode {FOLDERS[side]}/{split}", total=total) as step:
        encode_collection(
            encoder,
            data,
            out,
            collection=what,
            weights=weights,
            device=_device(flags.device),
            dtype=getattr(flags, "dtype", "float16"),
            training=training_record(flags.model),
            autocast=_autocast(flags),
            progress=step,
        )


def _check_made_by(store: Path, weights: str, prompts: str | None) -> None:
    """A store that is there already counts as done only if this model made it, under this prompt policy."""
    manifest, fix = Store(store).manifest, "name another --out, or remove this store"
    if manifest["weights_hash"] != weights:
        theirs = manifest["weights_hash"]
        raise InputError(
            f"was made by other weights ({theirs[:12]}) than the model's ({weights[:12]})", file=store, fix=fix
        )
    if manifest["prompts"] != prompts:
        raise InputError(f"was made under the prompt policy {manifest['prompts']}, not {prompts}", file=store, fix=fix)


def _autocast(flags: argparse.Namespace) -> AbstractContextManager[Any] | None:
    if flags.precision == "32-true":
        return None
    dtype = torch.bfloat16 if flags.precision == "bf16-mixed" else torch.float16
    return torch.autocast(_device(flags.device).type, dtype=dtype)


def _score(flags: argparse.Namespace, directory: DataDirectory, run: Path, pool: str) -> list[Score]:
    return evaluate(
        run=run,
        qrels=directory.qrels_path(flags.split),
        queries=directory.path / "queries" / flags.split,
        candidates=directory.path / "candidates" / flags.split,
        k=tuple(flags.k),
        json=flags.out / f"scores_{pool}.jsonl",
        pool=pool,
        bootstrap=flags.bootstrap,
        seed=flags.seed,
        record=ranking_record(run),
    )


def _join(out: Path) -> None:
    parts = [out / f"scores_{pool}.jsonl" for pool in ("global", "local")]
    with atomic_file(out / "scores.jsonl") as partial:
        partial.write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
