"""`mmembed predict`: what `predict_step` returns becomes a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import lightning
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from lit_mmembed.data.datamodule import RetrievalData, collection
from lit_mmembed.encoders.pretrained import weights_hash
from lit_mmembed.retrieval.store import StoreWriter
from lit_mmembed.training.encoding import open_store


class EmbeddingWriter(BasePredictionWriter):
    """Writes each predicted batch into the store at `path`; every process writes its own rows of the same file."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(write_interval="batch")
        self.path = Path(path)
        self._writer: StoreWriter | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Open the store, or go on with the one that a killed run left."""
        data = cast(RetrievalData, trainer.datamodule)  # type: ignore[attr-defined]
        side, split = collection(data.predict)
        encoder = cast(Any, pl_module).encoder
        rows = data.rows_to_encode(side, split)
        self._writer = open_store(
            self.path, rows, data=data, encoder=encoder, split=split, weights=weights_hash(encoder)
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
        assert self._writer is not None
        self._writer.write(rows.cpu().numpy(), vectors.float().cpu().numpy())

    def on_predict_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Give the store its final name once every process is done."""
        assert self._writer is not None
        trainer.strategy.barrier("store")
        if trainer.is_global_zero:
            self._writer.finish()
