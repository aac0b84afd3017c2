"""Writes the model folder at the end of a stage: what `encode`, the next stage and a user load."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import lightning
import yaml
from lightning.pytorch import Callback, Trainer

from lit_mmembed.data.datamodule import RetrievalData
from lit_mmembed.data.generation_data import GenerationData
from lit_mmembed.data.training_set import negatives_hash
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.generation import Generator
from lit_mmembed.encoders.pretrained import RECORD_FILE, save_encoder
from lit_mmembed.files import atomic_folder, write_json
from lit_mmembed.record import run_record
from lit_mmembed.training.sharding import whole_weights

MODEL_FOLDER = "model"
CONFIG_FILE = "config.yaml"


class ExportCheckpoint(Callback):
    """Saves a generator as `FOLDER/model`, a checkpoint folder that transformers loads, when fitting ends."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / MODEL_FOLDER

    def on_fit_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Save on the first process."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        data = cast(GenerationData, trainer.datamodule)  # type: ignore[attr-defined]
        config = yaml.safe_load((self.path.parent / CONFIG_FILE).read_text(encoding="utf-8"))
        with atomic_folder(self.path, replace=True) as partial:
            cast(Generator, pl_module.generator).save(partial)
            record = run_record(config=config, seed=data.seed, steps=trainer.global_step, data_hash=data.directory.hash)
            write_json(partial / RECORD_FILE, record)


class ExportModel(Callback):
    """Saves the encoder (config, weights as safetensors, side files) as `FOLDER/model` when fitting ends."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / MODEL_FOLDER

    def on_fit_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Save on the first process; all of them gather what is sharded."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        encoder = cast(Encoder, pl_module.encoder)
        weights = whole_weights(encoder)
        if trainer.is_global_zero:
            save_encoder(encoder, self.path, record=self._record(trainer), weights=weights)

    def _record(self, trainer: Trainer) -> dict[str, Any]:
        data = cast(RetrievalData, trainer.datamodule)  # type: ignore[attr-defined]
        config = self.path.parent / CONFIG_FILE
        return run_record(
            config=yaml.safe_load(config.read_text(encoding="utf-8")) if config.exists() else None,
            seed=data.seed,
            steps=trainer.global_step,
            data_hash=data.directory.hash,
            prompts=str(data.prompts),
            negatives_hash=negatives_hash(data.negatives),
            mixture=data.mixture_record(),
        )
