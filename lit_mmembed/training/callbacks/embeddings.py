"""`mmembed predict`: what `predict_step` returns becomes stores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from lit_mmembed.data.datamodule import RetrievalData, collections
from lit_mmembed.data.encoding import RowsToEncode
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.pretrained import training_record, weights_hash
from lit_mmembed.retrieval.store import StoreWriter
from lit_mmembed.training.encoding import is_store_of, open_store
from lit_mmembed.training.sharding import whole_weights
from lit_mmembed.types import FOLDERS


class EmbeddingWriter(BasePredictionWriter):
    """Writes each predicted batch into a store; every process writes its own rows of the same file.

    Killed, the same command goes on: rows that were written are not embedded again, and a store that this model has
    made of these data under this prompt policy counts as done.

    Args:
        path: The store, where `data.predict` names one collection ("candidates/test"); where it names a split
            ("test"), the folder that gets `queries` and `candidates`.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(write_interval="batch")
        self.path = Path(path)
        self._writers: list[StoreWriter | None] = []
        self._weights: str | None = None

    def setup(self, trainer: Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Have the data ask what is left to embed, once the weights are in their place."""
        if stage == "predict":
            self._writers, self._weights = [], None
            data = cast(RetrievalData, trainer.datamodule)  # type: ignore[attr-defined]
            data.left_to_encode = partial(self._open, trainer, pl_module)

    def _open(
        self, trainer: Trainer, pl_module: lightning.LightningModule, rows: RowsToEncode, split: str
    ) -> np.ndarray:
        """Open a store, or go on with the one that a killed run left; return the rows [m] that it lacks."""
        data = cast(RetrievalData, trainer.datamodule)  # type: ignore[attr-defined]
        encoder, source = cast(Encoder, pl_module.encoder), cast(Path | None, pl_module.weights)
        self._weights = self._weights or weights_hash(encoder, whole_weights(encoder))
        path = self.path / FOLDERS[rows.side] if len(collections(data.predict)) > 1 else self.path
        if is_store_of(path, rows, data=data, split=split, weights=self._weights):
            self._writers.append(None)
            return np.zeros(0, dtype=np.int64)
        training = training_record(source) if source else None
        writer = open_store(
            path, rows, data=data, encoder=encoder, split=split, weights=self._weights, training=training
        )
        trainer.strategy.barrier("opened")
        missing = writer.missing_rows()
        trainer.strategy.barrier("missing")
        self._writers.append(writer if len(missing) else None)
        if not len(missing):  # named here: Lightning calls no hook where there is nothing to predict
            if trainer.is_global_zero:
                writer.finish()
            trainer.strategy.barrier("finished")
        return missing

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
        writer = self._writers[dataloader_idx]
        assert writer is not None
        writer.write(rows.cpu().numpy(), vectors.float().cpu().numpy())

    def on_predict_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Give the stores their final names once every process is done."""
        for writer in self._writers:
            if writer is not None:
                writer.flush()
        trainer.strategy.barrier("stores")
        if trainer.is_global_zero:
            for writer in self._writers:
                if writer is not None:
                    writer.finish()
