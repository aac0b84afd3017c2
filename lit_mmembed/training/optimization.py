"""Optimizer and schedule: AdamW with decay on matrices only, warm-up, then cosine or constant (UniIR's recipe)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR


@dataclass
class Optimization:
    """How weights are updated. The defaults are UniIR's for CLIP_SF-Large."""

    lr: float = 1e-5
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.2
    """On matrices; biases, norms and the temperature have none."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After the warm-up: down to `final_lr` over the run, or level."""
    warmup_steps: int = 0
    final_lr: float = 0.0
    """Where the cosine ends, as a share of `lr`."""

    def configure(self, modules: Iterable[nn.Module], total_steps: int) -> dict[str, Any]:
        """Return what `configure_optimizers` returns, for the trainable parameters of `modules`."""
        optimizer = AdamW(
            decay_groups(modules, self.weight_decay), lr=self.lr, betas=self.betas, eps=self.eps, foreach=True
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._scheduler(optimizer, total_steps), "interval": "step"},
        }

    def _scheduler(self, optimizer: Optimizer, total_steps: int) -> LambdaLR:
        factor = partial(
            _factor,
            schedule=self.schedule,
            warmup=self.warmup_steps,
            total=max(total_steps, 1),
            final=self.final_lr,
        )
        return LambdaLR(optimizer, factor)


def decay_groups(modules: Iterable[nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups: matrices and embeddings decay; vectors and scalars (biases, norms, temperature) do not."""
    parameters = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}.values()
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _factor(step: int, *, schedule: str, warmup: int, total: int, final: float) -> float:
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
