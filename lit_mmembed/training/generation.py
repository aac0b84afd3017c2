"""The LightningModule that teaches a LLaVA-Next to answer: next-token cross-entropy on the answers alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_mmembed.data.generation import KINDS
from lit_mmembed.data.generation_data import GenerationData
from lit_mmembed.encoders.generation import GenerationPreprocess, Generator
from lit_mmembed.training.lean_checkpoint import LeanCheckpoint
from lit_mmembed.training.optimization import Optimization
from lit_mmembed.training.unused import idle
from lit_mmembed.types import Features, Task

CAPTION, JUDGEMENT = KINDS.index("caption"), KINDS.index("judgement")


class GenerationModule(LeanCheckpoint):
    """A LLaVA-Next checkpoint trained to write captions, passages and True or False.

    Args:
        checkpoint: The folder to start from.
        optimization: Learning rate and schedule.
        vision: Whether the vision tower stays as it is or is trained too; the projector always is.
        max_tokens: Longest prompt with its answer.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        optimization: Optimization | None = None,
        vision: Literal["frozen", "trained"] = "frozen",
        max_tokens: int = 512,
    ) -> None:
        super().__init__()
        self.generator = Generator(checkpoint, max_tokens=max_tokens)
        self.optimization = optimization or Optimization()
        self.generator.model.model.vision_tower.requires_grad_(vision == "trained")
        self.seed = 0
        self._sums: dict[str, Tensor] = {}

    @property
    def preprocess(self) -> GenerationPreprocess:
        """What makes features of examples."""
        return self.generator.preprocess

    def configure_optimizers(self) -> Any:
        """AdamW over the trainable parameters."""
        return self.optimization.configure((self.generator,), int(self.trainer.estimated_stepping_batches))

    def on_train_batch_start(self, batch: Features, batch_idx: int) -> None:
        """Seed dropout by (seed, step, process), so that a resumed run draws what an uninterrupted one draws."""
        torch.manual_seed((self.seed * 1_000_003 + self.global_step) * 1009 + self.global_rank)

    def training_step(self, batch: Features, batch_idx: int) -> Tensor:
        """Return the mean over examples of the mean over their answer's tokens: a short answer counts as a long one."""
        logits, targets, example = self.generator(batch)
        losses = F.cross_entropy(logits, targets, reduction="none")
        per_example = _mean_by(losses, example, len(batch["tokens"]))
        for code, kind in enumerate(KINDS):  # not a number, null in the log, where the batch has none of a kind
            self.log(f"train/loss/{kind}", per_example.detach()[batch["kind"] == code].mean())
        loss = per_example.mean() + idle(self._for_images())
        self.log("train/loss", loss.detach(), prog_bar=True, sync_dist=True)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient norm before any clipping."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self.log("train/grad_norm", torch.nn.utils.get_total_norm(gradients))
        self.log("train/lr", optimizer.param_groups[0]["lr"])

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self._sums = defaultdict(lambda: torch.zeros(2, device=self.device))

    def validation_step(self, batch: Features, batch_idx: int) -> None:
        """Add up the captions' cross-entropy and the right judgements, over all and by task."""
        logits, targets, example = self.generator(batch)
        losses = F.cross_entropy(logits, targets, reduction="none")
        caption = losses[batch["kind"][example] == CAPTION]
        self._sums["caption"] += torch.stack([caption.sum(), torch.tensor(float(len(caption)), device=self.device)])
        right = self._judged(logits, example, batch) == batch["true"]
        tasks = self._tasks()
        for code in batch["task"].unique().tolist():
            of_task = (batch["task"] == code) & (batch["kind"] == JUDGEMENT)
            if of_task.any():
                self._sums[tasks[code].name] += torch.stack([right[of_task].sum(), of_task.sum()])

    def on_validation_epoch_end(self) -> None:
        """Log the perplexity of captions and the share of right judgements; half of them are True, chance is 50 %."""
        names = ["caption", *(task.name for task in self._tasks())]  # all, so that every process adds up the same
        own = torch.stack([self._sums.get(name, torch.zeros(2, device=self.device)) for name in names])
        sums = dict(zip(names, self.trainer.strategy.reduce(own, reduce_op="sum").unbind(), strict=True))
        caption = sums["caption"]
        if caption[1]:
            self.log("val/caption_perplexity", (caption[0] / caption[1]).exp(), rank_zero_only=True)
        in_order = [name for name in dict.fromkeys([*self._sums, *names]) if name != "caption" and sums[name][1]]
        if in_order:
            shares = {task: sums[task][0] / sums[task][1] for task in in_order}
            self.log_dict({f"val/judgement/{task}": share for task, share in shares.items()}, rank_zero_only=True)
            mean = torch.stack(list(shares.values())).mean()
            self.log("val/judgement/mean", mean, prog_bar=True, rank_zero_only=True)

    def _tasks(self) -> Sequence[Task]:
        return cast(GenerationData, self.trainer.datamodule).directory.tasks  # type: ignore[attr-defined]

    def _for_images(self) -> list[nn.Parameter]:
        """Return the weights that texts do not use, and images not all: the tower's last layers come to nothing."""
        body = self.generator.model.model
        return [*body.vision_tower.parameters(), *body.multi_modal_projector.parameters(), body.image_newline]

    def _judged(self, logits: Tensor, example: Tensor, batch: Features) -> Tensor:
        """Return for each example whether True is likelier than False as the first token of its answer."""
        first = torch.cat([torch.ones(1, dtype=torch.bool, device=example.device), example[1:] != example[:-1]])
        true, false = self.preprocess.answer_ids
        return (logits[first, true] > logits[first, false])[: len(batch["tokens"])]


def _mean_by(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Return the mean of the values of each group [groups]; `group` has at least one of each."""
    sums = torch.zeros(groups, device=values.device, dtype=values.dtype).index_add(0, group, values)
    return sums / torch.bincount(group, minlength=groups)
