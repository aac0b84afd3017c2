"""Writes the model folder at the end of a stage: what `encode`, the next stage and a user load."""

from __future__ import annotations

from pathlib import Path

import lightning
from lightning.pytorch import Callback, Trainer

from lit_mmembed.encoders.pretrained import save_encoder

MODEL_FOLDER = "model"


class ExportModel(Callback):
    """Saves the encoder (config, weights as safetensors, side files) as `FOLDER/model` when fitting ends."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / MODEL_FOLDER

    def on_fit_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Save on the first process."""
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            save_encoder(pl_module.encoder, self.path)  # type: ignore[arg-type]
