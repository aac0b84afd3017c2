"""The LightningDataModule of generative training: examples in a reproducible order, and those of validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import lightning
import numpy as np
from torch.utils.data import DataLoader

from lit_mmembed.data.datamodule import ResumableLoader
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.generation import Example, Shares, Sources, TrainingExamples, validation_examples
from lit_mmembed.data.order import BatchOrder, EpochSampler, place_of, position_of
from lit_mmembed.errors import InputError
from lit_mmembed.types import Features

Collate = Callable[[Sequence[Example]], Features]


class FlatCollate:
    """Makes features of items that hold one example or more."""

    def __init__(self, collate: Collate) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[tuple[Example, ...]]) -> Features:
        """Return one batch of a process."""
        return self.collate([example for item in items for example in item])


class GenerationData(lightning.LightningDataModule):
    """Batches of examples from a data directory (`mmembed shard`).

    Call `connect(model.preprocess)` before use; the command line does.

    Args:
        path: The data directory.
        batch_size: Draws per optimizer step, over all processes; a draw is one example, or a pair of judgements.
        shares: How often each kind of example is drawn.
        validation_queries: At most this many queries per task in validation; None takes all.
        workers: DataLoader worker processes.
        seed: Seed of the order and of every draw. The command line sets it to `seed_everything`.
    """

    def __init__(
        self,
        path: Path,
        *,
        batch_size: int = 64,
        shares: Shares | None = None,
        validation_queries: int | None = None,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.path = Path(path)
        self.batch_size = batch_size
        self.shares = shares or Shares()
        self.validation_queries = validation_queries
        self.workers = workers
        self.seed = seed
        self._collate: Collate | None = None

    def connect(self, collate: Collate) -> None:
        """Give the model's `preprocess`, which makes features of examples."""
        self._collate = collate

    @cached_property
    def directory(self) -> DataDirectory:
        """The data directory, opened once."""
        return DataDirectory(self.path)

    def train_dataloader(self) -> DataLoader:
        """Training batches, from the batch that the trainer's counters name on."""
        sources = Sources(self.directory, "train")
        order = BatchOrder(np.asarray(sources.queries.task), batch_size=self.batch_size, seed=self.seed)
        rank, world = place_of(self.trainer)
        sampler = EpochSampler(order, rank=rank, world=world)
        sampler.resume(*position_of(self.trainer, order.batches()))
        return ResumableLoader(
            TrainingExamples(sources, self.shares, seed=self.seed),  # type: ignore[arg-type]
            batch_sampler=sampler,
            collate_fn=FlatCollate(self._connected()),
            num_workers=self.workers,
        )

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Captions and judgements of the validation split; process r of W takes every W-th."""
        if "val" not in self.directory.splits:
            return []
        rank, world = place_of(self.trainer)
        sources = Sources(self.directory, "val")
        examples = list(validation_examples(sources, self.validation_queries, seed=self.seed))[rank::world]
        return DataLoader(
            examples,  # type: ignore[arg-type]
            batch_size=self.batch_size,
            collate_fn=self._connected(),
            num_workers=self.workers,
        )

    def _connected(self) -> Collate:
        if self._collate is None:
            raise InputError("no model is connected", fix="call datamodule.connect(model.preprocess) first")
        return self._collate
