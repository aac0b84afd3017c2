"""What W&B shows beside curves: a table of retrieved results with their pictures, and the mining statistics."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import WandbLogger

from lit_mmembed.data.datamodule import RetrievalData
from lit_mmembed.training.callbacks.mining import STATISTICS_FILE, logged_statistics
from lit_mmembed.types import MODALITIES, Sample


class RetrievedTable(Callback):
    """At the end of a fit, logs the top 5 of some validation queries, and what mining found.

    Args:
        folder: The run folder, where mining leaves its statistics.
        queries_per_task: Rows of the table per task, the first of the validation split.
    """

    def __init__(self, folder: str | Path, *, queries_per_task: int = 2) -> None:
        self.folder = Path(folder)
        self.queries_per_task = queries_per_task

    def on_fit_end(self, trainer: Trainer, pl_module: lightning.LightningModule) -> None:
        """Log once, on the first process."""
        logger = next((logger for logger in trainer.loggers if isinstance(logger, WandbLogger)), None)
        if logger is None or not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if (self.folder / STATISTICS_FILE).exists():
            logger.experiment.log(logged_statistics(self.folder))
        best = getattr(pl_module, "last_best", None)
        if best is not None:
            table = self._table(cast(RetrievalData, trainer.datamodule), best)  # type: ignore[attr-defined]
            logger.experiment.log({"retrieved": table})

    def _table(self, data: RetrievalData, best_QK: np.ndarray) -> Any:
        import wandb

        queries, candidates = data.directory.queries("val"), data.directory.candidates("val")
        rows = data.validation_rows("val")
        task = np.asarray(queries.task)[rows]
        shown = np.concatenate([np.flatnonzero(task == index)[: self.queries_per_task] for index in np.unique(task)])
        table = wandb.Table(columns=["task", "query", "query image", *(f"rank {rank}" for rank in range(1, 6))])
        for place in shown:
            query = queries[int(rows[place])]
            wanted = data.directory.tasks[int(task[place])].candidate_modality
            found = [candidates[int(row)] for row in best_QK[place, :5]]
            cells = [_cell(document, query, MODALITIES.index(wanted)) for document in found]
            image = _picture(query, "query") if query.image else None
            table.add_data(query.task, query.text, image, *cells)
        return table


def _cell(document: Sample, query: Sample, wanted: int) -> Any:
    mark = "right" if document.id in query.positives else "other"
    mark = mark if document.modality.code == wanted else "wrong modality"
    return _picture(document, f"{mark}: {document.text or ''}")


def _picture(sample: Sample, caption: str) -> Any:
    """An image with a caption; a text alone is written into an empty picture's caption."""
    import wandb
    from PIL import Image

    picture = Image.open(io.BytesIO(sample.image)) if sample.image else Image.new("RGB", (64, 16), "white")
    return wandb.Image(picture.convert("RGB"), caption=caption)
