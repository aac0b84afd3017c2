"""Progress of a fit where no terminal is: a line now and then, with speed and time left."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar

SECONDS_BETWEEN_LINES = 20.0


class ProgressLines(ProgressBar):
    """Prints the step, the logged numbers, steps a second and the time left, at most every 20 seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._first_step = 0
        self._start = self._last = time.monotonic()

    def disable(self) -> None:
        """Print nothing: Lightning calls it on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock; a resumed run starts at its step."""
        self._first_step = trainer.global_step
        self._start = self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print when due, and after the last step."""
        total = int(trainer.estimated_stepping_batches)
        now = time.monotonic()
        if not self._enabled or (now - self._last < SECONDS_BETWEEN_LINES and trainer.global_step < total):
            return
        self._last = now
        speed = (trainer.global_step - self._first_step) / max(now - self._start, 1e-9)
        numbers = {name: value for name, value in self.get_metrics(trainer, pl_module).items() if name != "v_num"}
        told = "".join(f", {name} {value:.3f}" for name, value in numbers.items() if isinstance(value, float))
        left = (total - trainer.global_step) / speed if speed else 0.0
        line = f"fit: step {trainer.global_step:,} of {total:,}{told}, {speed:.2f} steps/s, {left:,.0f} s left"
        print(line, file=sys.stderr, flush=True)
