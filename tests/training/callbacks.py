"""A callback that interrupts training, as a crash does; a YAML may name it with `--allow-imports=tests`."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Stopped(RuntimeError):
    """Raised in the middle of training."""


class StopAt(Callback):
    """Raises once `step` optimizer steps are done and everything that belongs to the last of them has been kept."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step >= self.step:
            raise Stopped
