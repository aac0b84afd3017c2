"""Embedding a collection into a store: one loop for the command line, the mining callback and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from lit_mmembed.data.datamodule import RetrievalData
from lit_mmembed.data.encoding import RowsToEncode
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.files import read_json
from lit_mmembed.record import run_record
from lit_mmembed.retrieval.store import MANIFEST_FILE, StoreWriter
from lit_mmembed.types import Features

Progress = Callable[[int], None]


def open_store(
    path: Path,
    rows: RowsToEncode,
    *,
    data: RetrievalData,
    encoder: Encoder,
    split: str,
    weights: str,
    dtype: str = "float16",
    training: Mapping[str, Any] | None = None,
) -> StoreWriter:
    """Open (or go on with) the store of `rows`, under a manifest that names weights, data and prompt policy.

    `training` is what produced the weights (`encoders.pretrained.training_record`).
    """
    made_of = _made_of(rows, data, split, weights)
    prompts = made_of["prompts"]
    manifest = {
        **made_of,
        "training": dict(training or {}),
        "tasks": [task.name for task in data.directory.tasks],
        "record": run_record(seed=data.seed, prompts=prompts, data_hash=data.directory.hash, weights_hash=weights),
    }
    return StoreWriter(
        path,
        ids=rows.ids,
        modality=rows.modality,
        task=rows.task,
        dimension=encoder.dimension,
        dtype=dtype,  # type: ignore[arg-type]
        manifest=manifest,
    )


def is_store_of(path: Path, rows: RowsToEncode, *, data: RetrievalData, split: str, weights: str) -> bool:
    """Whether a finished store is of these weights, data, collection and prompt policy."""
    if not (path / MANIFEST_FILE).exists():
        return False
    manifest = read_json(path / MANIFEST_FILE)
    return all(manifest.get(name) == value for name, value in _made_of(rows, data, split, weights).items())


def _made_of(rows: RowsToEncode, data: RetrievalData, split: str, weights: str) -> dict[str, str | None]:
    """What tells a store from others, as its manifest has it."""
    return {
        "weights_hash": weights,
        "data_hash": data.directory.hash,
        "side": str(rows.side),
        "split": split,
        "prompts": str(data.prompts) if rows.wordings else None,
    }


@torch.inference_mode()
def encode_batches(
    encoder: Encoder,
    loader: DataLoader,
    writer: StoreWriter,
    *,
    device: torch.device,
    autocast: AbstractContextManager[Any] | None = None,
    progress: Progress | None = None,
) -> int:
    """Embed every batch of `loader` and write it. The encoder is left in the mode it was in.

    Returns:
        How many rows were longer than the encoder takes, and so were cut.
    """
    was_training = encoder.training
    encoder.eval()
    cut = 0
    try:
        with autocast or nullcontext():
            for batch in loader:
                cut += int((batch.features["cut"] > 0).sum()) if "cut" in batch.features else 0
                vectors = encoder(on_device(batch.features, device)).float().cpu().numpy()
                writer.write(batch.rows.numpy(), vectors)
                if progress:
                    progress(len(batch.rows))
    finally:
        encoder.train(was_training)
    return cut


def on_device(features: Features, device: torch.device) -> Features:
    """Move features to `device`."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in features.items()}


def encode_collection(
    encoder: Encoder,
    data: RetrievalData,
    out: Path,
    *,
    collection: tuple[Any, str],
    weights: str,
    device: torch.device,
    place: tuple[int, int] = (0, 1),
    barrier: Callable[[], None] = lambda: None,
    dtype: str = "float16",
    training: Mapping[str, Any] | None = None,
    autocast: AbstractContextManager[Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Embed one collection, e.g. (Side.CANDIDATE, "test"), into the store `out`; process `place` = (rank, world).

    Rows that a killed run has written are not embedded again. `autocast` is the precision to embed in; fp32 without.
    """
    side, split = collection
    if out.exists():
        return
    rows = data.rows_to_encode(side, split)
    writer = open_store(
        out, rows, data=data, encoder=encoder, split=split, weights=weights, dtype=dtype, training=training
    )
    barrier()
    missing = writer.missing_rows()
    if progress:
        progress(len(rows) - len(missing))
    barrier()
    loader = data.encoding_loader(rows, missing=missing, rank=place[0], world=place[1])
    cut = encode_batches(encoder, loader, writer, device=device, autocast=autocast, progress=progress)
    if cut:
        print(f"{side} {split}: {cut:,} texts were longer than the limit and were cut", flush=True)
    writer.flush()  # before the others pass the barrier: the first process reads everybody's journal
    barrier()
    if place[0] == 0:
        writer.finish()
    barrier()
