"""`mmembed predict`: what `predict_step` returns becomes stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import lightning
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from lit_mmembed.data.datamodule import RetrievalData, collections
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.pretrained import training_record, weights_hash
from lit_mmembed.retrieval.store import StoreWriter
from lit_mmembed.training.encoding import open_store
from lit_mmembed.types import FOLDERS


class EmbeddingWriter(BasePredictionWriter):
    """Writes each predicted batch into a store; every process writes its own rows of the same file.

    Args:
        path: The store, where `data.predict` names one collection ("candidates/test"); where it names a split
            ("test"), the folder that gets `queries` and `candidates`.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(write_interval="batch")
        self.path = Path(path)
        self._writers: list[StoreWriter] = []

    def on_predict_start(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Open the stores, or go on with those that a killed run left."""
        data = cast(RetrievalData, trainer.datamodule)  # type: ignore[attr-defined]
        encoder, source = cast(Encoder, pl_module.encoder), cast(Path | None, pl_module.weights)
        weights, training = weights_hash(encoder), training_record(source) if source else None
        named = collections(data.predict)
        for side, split in named:
            self._writers.append(
                open_store(
                    self.path / FOLDERS[side] if len(named) > 1 else self.path,
                    data.rows_to_encode(side, split),
                    data=data,
                    encoder=encoder,
                    split=split,
                    weights=weights,
                    training=training,
                )
            )

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: lightning.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write one batch."""
        rows, vectors = prediction
        self._writers[dataloader_idx].write(rows.cpu().numpy(), vectors.float().cpu().numpy())

    def on_predict_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Give the stores their final names once every process is done."""
        for writer in self._writers:
            writer.flush()
        trainer.strategy.barrier("stores")
        if trainer.is_global_zero:
            for writer in self._writers:
                writer.finish()
