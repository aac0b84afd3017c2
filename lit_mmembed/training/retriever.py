"""The LightningModule around any encoder: the shared contrastive step, validation by retrieval, embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lit_mmembed.data.datamodule import RetrievalData
from lit_mmembed.encoders.adapters import trainable_summary
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.losses.gather import gather_without_gradient
from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.training.cached_step import cached_loss
from lit_mmembed.training.contrastive import contrastive_loss
from lit_mmembed.training.lean_checkpoint import LeanCheckpoint
from lit_mmembed.training.optimization import Optimization
from lit_mmembed.training.sharding import average_whole_gradients, is_sharded, refuse_wrong_strategy, shard_encoder
from lit_mmembed.training.validation import Collected, best_rows, retrieval_scores
from lit_mmembed.types import Batch, EncodeBatch


class RetrieverModule(LeanCheckpoint):
    """A bi-encoder trained by InfoNCE over all positives and negatives of the global batch (Eq. 1).

    Args:
        encoder: The backbone, e.g. `lit_mmembed.encoders.clip_fusion.ClipFusion`.
        loss: Temperature and mask.
        optimization: Learning rate and schedule.
        chunk_tokens: Token budget of a chunk of the cached step (`training.cached_step`): memory is that of one chunk,
            whatever the batch. None embeds the whole batch at once.
        weights: A model folder (`model/` of an earlier stage) to start from; None starts from the encoder as built,
            which is the pretrained backbone: where M_hard starts again (section 5.1).
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        loss: InfoNCE,
        optimization: Optimization | None = None,
        chunk_tokens: int | None = None,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = loss
        self.optimization = optimization or Optimization()
        self.chunk_tokens = chunk_tokens
        self.seed = 0
        self.weights = None if weights is None else Path(weights)
        if self.weights is not None:
            from lit_mmembed.encoders.pretrained import load_weights

            load_weights(encoder, self.weights)
        self.last_best: np.ndarray | None = None
        """Rows [Q, K] that the last validation found best: what a table of results shows."""
        self._collected: list[Collected] = []

    def setup(self, stage: str) -> None:
        """Refuse to train under what DeepSpeed or FSDP1 would get wrong, before they wrap the model."""
        if stage == "fit":
            refuse_wrong_strategy(type(self.trainer.strategy).__name__, self.loss, self.chunk_tokens)
        super().setup(stage)

    def configure_model(self) -> None:
        """Shard the encoder under `training.fsdp2.Fsdp2`, or the `ModelParallelStrategy` of Lightning below it."""
        if self.device_mesh is not None and not is_sharded(self.encoder):
            shard_encoder(self.encoder, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> Any:
        """AdamW over the trainable parameters of encoder and loss."""
        total = int(self.trainer.estimated_stepping_batches)
        return self.optimization.configure((self.encoder, self.loss), total)

    def on_fit_start(self) -> None:
        """Say what is trained, part by part, where a part is frozen."""
        rows = trainable_summary(self.encoder)
        if self.global_rank == 0 and rows[-1][1] < rows[-1][2]:
            parts = [f"{part} {trained:,} of {size:,}" for part, trained, size in rows]
            print(f"trained parameters: {', '.join(parts)} ({rows[-1][1] / rows[-1][2]:.2%})", flush=True)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by (seed, step, process), so that a resumed run draws what an uninterrupted one draws."""
        torch.manual_seed((self.seed * 1_000_003 + self.global_step) * 1009 + self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a global batch; under DDP, scaled so that averaged gradients are those of one process."""
        loss = self._loss(batch)
        self.log("train/loss", loss.detach(), prog_bar=True, sync_dist=True)
        self.log("train/temperature", self.loss.temperature.detach())
        if "cut" in batch.query:
            rows = (batch.query["cut"], batch.document["cut"])
            self.log("train/cut_rows", sum((cut > 0).sum() for cut in rows).float(), reduce_fx="sum", sync_dist=True)  # type: ignore[union-attr]
        return loss

    def _loss(self, batch: Batch) -> Tensor:
        if self.chunk_tokens is None:
            return contrastive_loss(self.encoder, self.loss, batch)
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        scale = float(scaler.get_scale()) if scaler is not None else 1.0
        return cached_loss(self.encoder, self.loss, batch, chunk_tokens=self.chunk_tokens, scale=scale)

    def on_after_backward(self) -> None:
        """Average the gradients of what is not sharded beside a sharded encoder: the learned temperature's."""
        if is_sharded(self.encoder):
            average_whole_gradients(self)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient norm before any clipping."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self.log("train/grad_norm", torch.nn.utils.get_total_norm(gradients))
        self.log("train/lr", optimizer.param_groups[0]["lr"])

    def on_validation_epoch_start(self) -> None:
        """Forget the last epoch's embeddings."""
        self._start_collecting(self.trainer.val_dataloaders)

    def validation_step(self, batch: EncodeBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Embed one batch of queries (loader 0) or documents (loader 1)."""
        self._collected[dataloader_idx].add(batch.rows, self.encoder(batch.features))

    def on_validation_epoch_end(self) -> None:
        """Search the validation pool and log hit@5 and M.A.@1 per task."""
        self._score("val", self.trainer.val_dataloaders)

    def on_test_epoch_start(self) -> None:
        """Forget the last epoch's embeddings."""
        self._start_collecting(self.trainer.test_dataloaders)

    def test_step(self, batch: EncodeBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Embed one batch of queries (loader 0) or documents (loader 1)."""
        self._collected[dataloader_idx].add(batch.rows, self.encoder(batch.features))

    def on_test_epoch_end(self) -> None:
        """Search the test pool and log hit@5 and M.A.@1 per task."""
        self._score("test", self.trainer.test_dataloaders)

    def predict_step(self, batch: EncodeBatch, batch_idx: int, dataloader_idx: int = 0) -> tuple[Tensor, Tensor]:
        """Return (rows [n], vectors [n, D]); `callbacks.embeddings.EmbeddingWriter` writes them."""
        return batch.rows, self.encoder(batch.features)

    def _start_collecting(self, loaders: Any) -> None:
        self._collected = [Collected(len(loader.dataset)) for loader in loaders]

    def _score(self, stage: str, loaders: Any) -> None:
        parts = [[gather_without_gradient(part) for part in side.parts()] for side in self._collected]
        sizes = [len(loader.dataset) for loader in loaders]
        if any(len(indices) < size for (indices, _), size in zip(parts, sizes, strict=True)):
            return  # a limited epoch has not seen the whole pool: no score would mean anything
        query, candidate = (side.laid_out(*part) for side, part in zip(self._collected, parts, strict=True))
        best = best_rows(query, candidate).cpu().numpy()
        self.last_best = best if stage == "val" else None
        data = cast(RetrievalData, self.trainer.datamodule)  # type: ignore[attr-defined]
        scores = retrieval_scores(best, loaders[0].dataset, loaders[1].dataset, data.directory.tasks)
        self.log_dict({f"{stage}/{name}": value for name, value in scores.items()}, rank_zero_only=True)
        self.log(f"{stage}_hit5", scores["hit@5/mean"], prog_bar=True, logger=False, rank_zero_only=True)
        self._collected = []
