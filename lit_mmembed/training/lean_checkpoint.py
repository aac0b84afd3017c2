"""Checkpoints without the weights that are not trained: those are read again from where they came from."""

from __future__ import annotations

import hashlib
from typing import Any

import lightning
import torch
from torch import Tensor

from lit_mmembed.errors import InputError

FROZEN = "frozen_weights"
SAMPLED = 1 << 16
"""Values of a tensor that its digest is made of, about."""


class LeanCheckpoint(lightning.LightningModule):
    """A LightningModule whose checkpoints hold what is trained, and a digest of each weight that is not.

    A 7B with LoRA has 14 GiB of frozen weights beside 0.2 GiB that change, and `resume.ckpt` is renewed again and
    again. Strategies that read and write weights themselves (FSDP2, DeepSpeed) keep all of them.
    """

    _frozen: dict[str, str] | None = None

    def setup(self, stage: str) -> None:
        """Take the digests before the weights are moved or their precision changes."""
        self._frozen = {name: digest(weight) for name, weight in frozen_weights(self).items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is not trained."""
        if self._frozen is None or self.trainer.strategy.restore_checkpoint_after_setup:
            return
        still = frozen_weights(self).keys()  # a callback may have begun to train what was frozen
        frozen = {name: found for name, found in self._frozen.items() if name in still}
        parts = tuple(f"{name}." for name in frozen)  # of a quantized weight: weight.absmax, weight.quant_map, ...
        weights = checkpoint["state_dict"].items()
        checkpoint["state_dict"] = {n: w for n, w in weights if n not in frozen and not n.startswith(parts)}
        checkpoint[FROZEN] = frozen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the weights as loaded in their place.

        Raises:
            InputError: they are not those that the checkpoint was trained beside.
        """
        if FROZEN not in checkpoint:
            return
        own = frozen_weights(self)
        found = self._frozen or {name: digest(weight) for name, weight in own.items()}
        for name in sorted(checkpoint[FROZEN].keys() | found.keys()):
            before, now = checkpoint[FROZEN].get(name), found.get(name)
            if before != now:
                frozen = "has other values" if before and now else "is trained now" if before else "is frozen now"
                raise InputError(
                    f"the weight {name} {frozen}, not as when this run began",
                    file=self.trainer.ckpt_path,
                    fix="give the checkpoint and the settings that it began with, or begin again in another folder",
                )
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **own}


def frozen_weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return the parameters that are not trained, under every name that they have in the state dict."""
    weights = module.state_dict(keep_vars=True).items()
    return {name: w.detach() for name, w in weights if isinstance(w, torch.nn.Parameter) and not w.requires_grad}


def digest(weight: Tensor) -> str:
    """SHA-256 of a tensor's type, shape and every n-th value: about `SAMPLED` of them, whatever its size."""
    flat = weight.detach().reshape(-1)
    step = max(1, flat.numel() // SAMPLED) | 1  # odd: not always the same columns
    sample = flat[::step].contiguous().cpu().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(f"{weight.dtype} {tuple(weight.shape)} ".encode() + sample).hexdigest()
