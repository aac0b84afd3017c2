"""A resume point that survives `kill -9`, and the plugin that writes checkpoints without a half-written moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lit_mmembed.files import atomic_file, beside, clear_beside, put_in_place
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
    also the position in the data) and the length of the log.

    Lightning logs a step, and validates after it, behind the last hook of that step. So the state is taken there and
    written before the next step, when the log is complete; tensors are not copied, nothing changes them in between.
    After an epoch's last batch nothing is taken: a run that is killed there repeats a few steps, and then what belongs
    to the epoch's end (mining), which Lightning would leave out.
    """

    def __init__(self, folder: str | Path, *, every_n_steps: int = 100) -> None:
        super().__init__()
        self.path = Path(folder) / RESUME_FILE
        self.every_n_steps = every_n_steps
        self._saved_at = 0
        self._log_size = 0
        self._taken: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Cut the log back to where the checkpoint was taken; a run from the start begins an empty one."""
        for logger in _logs(trainer):
            logger.cut_back(self._log_size)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Write the state that the last step left, if it was taken."""
        if self._taken is None:
            return
        self._taken["callbacks"][self.state_key]["log_size"] = sum(logger.size() for logger in _logs(trainer))
        taken, self._taken = self._taken, None
        self._keep(trainer, lambda path: trainer.strategy.save_checkpoint(taken, path))
        trainer.strategy.barrier("resume")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the state when due, but not on an epoch's last batch nor between two steps' batches."""
        is_due = trainer.global_step - self._saved_at >= self.every_n_steps
        is_last = batch_idx + 1 >= trainer.num_training_batches
        if is_due and not is_last and (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and not _is_trial(trainer):
            self._saved_at = trainer.global_step
            self._taken = trainer._checkpoint_connector.dump_checkpoint()

    def on_train_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Save the last step, so that whatever follows training can be repeated without it."""
        if not _is_trial(trainer):
            self._saved_at, self._taken = trainer.global_step, None
            self._log_size = sum(logger.size() for logger in _logs(trainer))
            self._keep(trainer, trainer.save_checkpoint)

    def _keep(self, trainer: Trainer, save: Callable[[Path], None]) -> None:
        """Save under the final name, or beside it where a strategy writes by itself (FSDP2, DeepSpeed).

        Those write a folder from several processes, over an older one: killed on the way, weights of one step and
        counters of another would lie there.
        """
        if not trainer.strategy.restore_checkpoint_after_setup:
            save(self.path)
            return
        if trainer.is_global_zero:
            clear_beside(self.path)
        trainer.strategy.barrier("cleared")
        save(beside(self.path))
        trainer.strategy.barrier("saved")
        if trainer.is_global_zero:
            put_in_place(self.path)
        trainer.strategy.barrier("in place")

    def state_dict(self) -> dict[str, Any]:
        """The step, and the length of the log at this point."""
        return {"log_size": self._log_size, "step": self._saved_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember it until the loggers are there."""
        self._log_size = state_dict["log_size"]
        self._saved_at = state_dict["step"]


def _logs(trainer: Trainer) -> list[JsonLinesLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, JsonLinesLogger)]


def _is_trial(trainer: Trainer) -> bool:
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
