"""How fast a fit is: tokens and queries a second, MFU, memory. In a file of its own: `log.jsonl` has no clock in it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from lit_mmembed.encoders.base import Encoder
from lit_mmembed.files import atomic_file
from lit_mmembed.training.devices import GIB, device_called
from lit_mmembed.training.live_flops import StepFlops, computes_in
from lit_mmembed.training.log import JsonLinesLogger
from lit_mmembed.types import Batch, Features

THROUGHPUT_FILE = "throughput.jsonl"


class Throughput(Callback):
    """Every `log_every_n_steps`, writes the speed since the last line to FOLDER/throughput.jsonl, W&B and progress bar.

    Names: `train/tokens` and `train/image_tokens` (a step, over all processes, mean), `train/tokens_per_second`,
    `train/queries_per_second`, `train/mfu` (where the device's peak is known; what `mmembed plan --mfu` takes) and
    `train/peak_memory_gib` (CUDA, the largest of all processes). Validation does not count as time.

    Nothing waits for the device but on the steps that are written: counts stay there until then.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / THROUGHPUT_FILE
        self._start = 0.0
        self._paused_at = 0.0
        self._steps = 0
        self._sums: Tensor | None = None
        self._flops: StepFlops | None = None

    def on_train_start(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock; forget lines of steps that a resumed run does again."""
        self._flops = StepFlops.of(pl_module)
        self._reset()
        if trainer.is_global_zero and not _is_trial(trainer):
            _cut_back(self.path, trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Add up; write when due."""
        if _is_trial(trainer):
            return
        self._count(cast(Encoder, pl_module.encoder), batch)
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self._steps += 1
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            speed = self._write(trainer, pl_module)["train/tokens_per_second"]
            pl_module.log("tokens_per_second", speed, prog_bar=True, logger=False)

    def on_validation_start(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Stop the clock."""
        self._paused_at = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Go on."""
        self._start += time.monotonic() - self._paused_at

    def on_train_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Write what the last steps were."""
        if self._steps and not _is_trial(trainer):
            self._write(trainer, pl_module)

    def _count(self, encoder: Encoder, batch: Batch) -> None:
        query, document = (side_counts(encoder, features) for features in (batch.query, batch.document))
        counts = query + document
        counts[0] = len(batch.positive)
        self._sums = counts if self._sums is None else self._sums + counts

    def _write(self, trainer: Trainer, pl_module: lightning.LightningModule) -> dict[str, float]:
        assert self._sums is not None
        sums = trainer.strategy.reduce(self._sums, reduce_op="sum").tolist()  # the device is waited for
        seconds = max(time.monotonic() - self._start, 1e-9)
        values = self._values(trainer, pl_module, sums, seconds)
        self._reset()
        if trainer.is_global_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": trainer.global_step, "seconds": seconds, **values}) + "\n")
            for logger in trainer.loggers:
                if not isinstance(logger, JsonLinesLogger):
                    logger.log_metrics(values, step=trainer.global_step)
        return values

    def _values(
        self, trainer: Trainer, pl_module: lightning.LightningModule, sums: list[int], seconds: float
    ) -> dict[str, float]:
        queries, tokens, image_tokens = sums
        values = {
            "train/tokens": tokens / self._steps,
            "train/image_tokens": image_tokens / self._steps,
            "train/tokens_per_second": tokens / seconds,
            "train/queries_per_second": queries / seconds,
        }
        device = pl_module.device
        if device.type != "cuda":
            return values
        known = device_called(torch.cuda.get_device_name(device))
        if known is not None and self._flops is not None:
            peak = known.peak_in(computes_in(pl_module, str(trainer.precision))) * trainer.world_size
            values["train/mfu"] = self._flops(tokens, image_tokens) / seconds / peak
        peak_memory = torch.tensor(float(torch.cuda.max_memory_allocated(device)), device=device)
        values["train/peak_memory_gib"] = float(trainer.strategy.reduce(peak_memory, reduce_op="max")) / GIB
        return values

    def _reset(self) -> None:
        self._start, self._steps, self._sums = time.monotonic(), 0, None


def side_counts(encoder: Encoder, features: Features) -> Tensor:
    """Return [rows, tokens with images expanded, tokens of images] of one side, int64, on the device.

    An MLLM's features say the tokens of each image; a CLIP's backbone says the patches that `costs` counts of an image.
    """
    costs = encoder.costs(features)
    if "image_tokens" in features:
        images = features["image_tokens"].sum()
    else:
        patches = getattr(getattr(encoder, "backbone", None), "patches", 0)
        images = costs.new_tensor(len(features["pixels"]) * patches if "pixels" in features else 0)
    return torch.stack([costs.new_tensor(len(costs)), costs.sum(), images.to(costs)])


def _cut_back(path: Path, step: int) -> None:
    """Keep the lines of steps up to `step`; a half-written last line goes."""
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
    with atomic_file(path) as partial:
        partial.write_text("".join(f"{line}\n" for line in kept if step), encoding="utf-8")


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")


def _is_trial(trainer: Trainer) -> bool:
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
