"""Which query comes when: a pure function of (seed, epoch), cut into global batches; each process takes a slice.

The order is therefore the same for any number of processes and workers, and resuming means starting at a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal, Protocol

import numpy as np

from lit_mmembed.data.triplets import Draw
from lit_mmembed.errors import InputError


class Order(Protocol):
    """The global batches of every epoch, as a sampler needs them."""

    def batches(self) -> int:
        """Batches per epoch: the same number in each."""
        ...

    def batch(self, epoch: int, number: int) -> list[Draw]:
        """The draws of one global batch: (epoch, position in the epoch, row)."""
        ...


class BatchOrder:
    """The global batches of every epoch.

    Args:
        task: [n] the task of each query.
        batch_size: Queries per global batch, over all processes.
        seed: Seed of the permutations.
        mixing: `mixed`: one permutation of all queries, cut; `one_task`: each batch has one task, and batches of all
            tasks are shuffled.
        drop_last: Leave out batches that are not full.
        repeats: [n] how often an epoch has each query (M-BEIR's upsampled union); None means once.
    """

    def __init__(
        self,
        task: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        mixing: Literal["mixed", "one_task"] = "mixed",
        drop_last: bool = True,
        repeats: np.ndarray | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        rows = np.arange(len(task)) if repeats is None else np.repeat(np.arange(len(task)), repeats)
        codes = np.asarray(task)[rows] if mixing == "one_task" else np.zeros(len(rows), dtype=np.int64)
        self._groups = [rows[codes == code] for code in np.unique(codes)]
        self._sizes = [size for group in self._groups for size in _cuts(len(group), batch_size, drop_last)]
        if not self._sizes:
            raise InputError(
                f"{len(rows)} training queries do not fill one batch of {batch_size}", fix="lower data.batch_size"
            )
        self._epoch: int | None = None
        self._plan: list[np.ndarray] = []
        self._starts = np.zeros(1, dtype=np.int64)
        self._drop_last = drop_last

    def batches(self) -> int:
        """Batches per epoch: the same number in each."""
        return len(self._sizes)

    def batch(self, epoch: int, number: int) -> list[Draw]:
        """The draws of one global batch: (epoch, position in the epoch, row)."""
        self._prepare(epoch)
        start = int(self._starts[number])
        return [(epoch, start + place, int(row)) for place, row in enumerate(self._plan[number])]

    def _prepare(self, epoch: int) -> None:
        if self._epoch == epoch:
            return
        generator = np.random.default_rng((self.seed, epoch))
        batches: list[np.ndarray] = []
        for group in self._groups:
            shuffled = generator.permutation(group)
            edges = np.cumsum([0, *_cuts(len(group), self.batch_size, self._drop_last)])
            batches += [shuffled[start:end] for start, end in pairwise(edges)]
        if len(self._groups) > 1:
            batches = [batches[place] for place in generator.permutation(len(batches))]
        self._plan = batches
        self._starts = np.cumsum([0, *(len(batch) for batch in batches)])
        self._epoch = epoch


def slice_for(batch: list[Draw], rank: int, world: int) -> list[Draw]:
    """The part of a global batch that process `rank` of `world` takes; parts differ by at most one in length."""
    quotient, remainder = divmod(len(batch), world)
    start = rank * quotient + min(rank, remainder)
    return batch[start : start + quotient + (rank < remainder)]


class EpochSampler:
    """A batch sampler over `Draw`s for one process, which can start inside an epoch.

    Lightning calls `set_epoch` before each epoch, but only of what a loader or a batch sampler names `sampler`; for the
    epoch that `resume` named it changes nothing.
    """

    def __init__(self, order: Order, *, rank: int = 0, world: int = 1) -> None:
        self.order = order
        self.rank = rank
        self.world = world
        self._epoch = 0
        self._first = 0

    def __len__(self) -> int:
        """Batches of a whole epoch, also when it starts inside one: Lightning counts from the epoch's start."""
        return self.order.batches()

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, first = self._epoch, self._first
        for number in range(first, self.order.batches()):
            yield slice_for(self.order.batch(epoch, number), self.rank, self.world)

    @property
    def sampler(self) -> EpochSampler:
        """This object: where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`, unless that is the epoch already."""
        if epoch != self._epoch:
            self.resume(epoch, 0)

    def resume(self, epoch: int, batch: int) -> None:
        """Start the next iteration at this batch of this epoch."""
        self._epoch = epoch
        self._first = batch


def place_of(trainer: Any) -> tuple[int, int]:
    """Return (process, number of processes); (0, 1) without a trainer."""
    return (trainer.global_rank, trainer.world_size) if trainer else (0, 1)


def position_of(trainer: Any, batches: int) -> tuple[int, int]:
    """Return (epoch, batch) to start from: what the trainer's counters say, which a resume has restored."""
    if trainer is None:
        return 0, 0
    loop = trainer.fit_loop
    epoch = loop.epoch_progress.current
    done = loop.epoch_loop.batch_progress.current.processed
    if epoch.processed == epoch.started:  # between two epochs: the batches are those of the last one
        return epoch.processed, 0
    return (epoch.processed + 1, 0) if done >= batches else (epoch.processed, done)


def _cuts(count: int, batch_size: int, drop_last: bool) -> list[int]:
    full, rest = divmod(count, batch_size)
    return [batch_size] * full + ([rest] if rest and not drop_last else [])
