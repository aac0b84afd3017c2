"""A resume point that survives `kill -9`, and the plugin that writes checkpoints without a half-written moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lit_mmembed.files import atomic_file
from lit_mmembed.training.log import JsonLinesLogger

RESUME_FILE = "resume.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its target, flushes it to disk and renames it.

    Lightning's own writes through the system's temporary folder without flushing.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write `checkpoint` under `path`, whole or not at all."""
        with atomic_file(path) as partial:
            torch.save(checkpoint, partial)


class ResumePoint(Checkpoint):
    """Keeps one `resume.ckpt` in the run folder, renewed every `every_n_steps` optimizer steps.

    It holds everything that the next step depends on: weights, optimizer, schedule, Lightning's counters (which are
    also the position in the data) and the length of the log. The last batch of an epoch is left to the epoch's end.
    """

    def __init__(self, folder: str | Path, *, every_n_steps: int = 100) -> None:
        super().__init__()
        self.path = Path(folder) / RESUME_FILE
        self.every_n_steps = every_n_steps
        self._saved_at = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when due, but not on an epoch's last batch nor just before a validation.

        Lightning takes a validation that follows a restored step for done, and its scores would be missing.
        """
        before_validation = trainer.val_check_batch and trainer.global_step % trainer.val_check_batch == 0
        if batch_idx + 1 < trainer.num_training_batches and not before_validation:
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Save when due."""
        self._save_if_due(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Save the last step, so that whatever follows training can be repeated without it."""
        if trainer.global_step != self._saved_at and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._save(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The length of the log at this point."""
        return {"log_size": self._log_size, "step": self._saved_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember it until the loggers are there."""
        self._log_size_to_restore = state_dict["log_size"]
        self._saved_at = state_dict["step"]

    def on_train_start(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Cut the log back to where the checkpoint was taken; a run from the start begins an empty one."""
        for logger in trainer.loggers:
            if isinstance(logger, JsonLinesLogger):
                logger.cut_back(self._log_size_to_restore)

    _log_size = 0
    _log_size_to_restore = 0

    def _save_if_due(self, trainer: Trainer) -> None:
        if trainer.global_step - self._saved_at >= self.every_n_steps and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self._saved_at = trainer.global_step
        loggers = [logger for logger in trainer.loggers if isinstance(logger, JsonLinesLogger)]
        self._log_size = loggers[0].size() if loggers else 0
        trainer.save_checkpoint(self.path)
