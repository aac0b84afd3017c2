"""Callbacks that interrupt training, as a crash does, and that watch it: for YAMLs, with `--allow-imports=tests`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_mmembed.types import Batch


class Stopped(RuntimeError):
    """Raised in the middle of training."""


class StopAt(Callback):
    """Raises once `step` optimizer steps are done and everything that belongs to the last of them has been kept."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step >= self.step:
            raise Stopped


class KeepBatches(Callback):
    """Appends what every batch of a process holds to the file PATH.RANK: ids of documents, known positives, task."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        names = ("document_ids", "positive", "known_positives", "task")
        kept = {name: getattr(batch, name).tolist() for name in names}
        with self.path.with_name(f"{self.path.name}.{trainer.global_rank}").open("a") as stream:
            stream.write(json.dumps({"epoch": trainer.current_epoch, "step": trainer.global_step, **kept}) + "\n")
