"""Training on several data directories at once: how often each comes, in an order that any process can resume.

Section 4.1.2 draws "uniformly" from multimodal and text-to-text training data, which may mean every triplet alike
(`proportional`) or every source alike (`uniform`): both are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lit_mmembed.data.triplets import Draw
from lit_mmembed.errors import InputError


@dataclass
class MixedSource:
    """A further data directory that training draws from."""

    path: Path
    """The data directory (`mmembed shard`)."""
    weight: float | None = None
    """Its share under `weights: given`, relative to the others'."""
    negatives: str | None = None
    """A NEGATIVES.parquet; `own`: those of the source's own files; `in_batch`: none, and that is meant. Left out it is
    an error where another source has negatives."""
    when_empty: Literal["other", "in_batch"] = "other"
    """As `data.when_empty`."""
    prompts: Literal["first", "random", "all", "none"] | None = None
    """Its prompt policy, where not `data.prompts`."""
    query_length: int | None = None
    """Tokens of a query at most, where not the encoder's own limit."""
    candidate_length: int | None = None
    """The same of a document."""


@dataclass
class Mixture:
    """Which further sources there are, and how often each comes, `data.path` included."""

    sources: list[MixedSource] = field(default_factory=list)
    weights: Literal["proportional", "uniform", "given"] = "proportional"
    """`proportional`: every training query comes as often as any other; `uniform`: every source does; `given`: by
    `weight`."""
    weight: float | None = None
    """The weight of `data.path` under `given`."""
    query_length: int | None = None
    """Tokens of a query of `data.path` at most, where not the encoder's own limit."""
    candidate_length: int | None = None
    """The same of a document."""


class Drawn(NamedTuple):
    """What an order draws from one source."""

    rows: np.ndarray
    """[n] rows of the mixture, a query as often as an epoch has it."""
    task: np.ndarray
    """[n] the task of each."""


def shares(mixture: Mixture, sizes: Sequence[int], *, record: str = "data.mixture") -> np.ndarray:
    """Return the share [S] of each source, `data.path` first, that sums to 1.

    Args:
        mixture: What was asked for.
        sizes: [S] queries of each source.
        record: Named in errors.

    Raises:
        InputError: weights that are missing, negative, not numbers, or zero for every source; weights that are given
            and not used.
    """
    given = [mixture.weight, *(source.weight for source in mixture.sources)]
    if mixture.weights != "given":
        if any(weight is not None for weight in given):
            fix = "set data.mixture.weights to given, or leave the weights out"
            raise InputError(f"weights are given, and not used under {mixture.weights}", record=record, fix=fix)
        raw = np.asarray(sizes if mixture.weights == "proportional" else np.ones(len(sizes)), dtype=np.float64)
        return raw / raw.sum()
    names = ["data.path", *(str(source.path) for source in mixture.sources)]
    for name, weight in zip(names, given, strict=True):
        if weight is None or not np.isfinite(weight) or weight < 0:
            fix = "give every source a number from 0; the weight of data.path is data.mixture.weight"
            raise InputError(f"the weight of {name} is {weight}", record=record, fix=fix)
    raw = np.array(given, dtype=np.float64)
    if not raw.sum():
        raise InputError("the weight of every source is zero", record=record, fix="give one of them a positive weight")
    return raw / raw.sum()


class MixtureOrder:
    """The global batches of a mixture: a pure function of (seed, epoch, number), as `order.BatchOrder` is.

    A source's queries come in permutations of all of them, one after another and over the ends of epochs, so each comes
    as often as any other of its source. `mixed`: the queries of a batch are shared out by systematic sampling: a source
    has its share of each batch, rounded up or down, and on average exactly. `one_task`: every batch has one task of one
    source, which is drawn.

    An epoch has as many queries as the sources of positive share together.

    Args:
        drawn: [S] what there is of each source.
        share: [S] how much of the training each has.
        batch_size: Queries per global batch, over all processes.
        seed: Seed of the permutations and of the sharing out.
        mixing: See above.
    """

    def __init__(
        self,
        drawn: Sequence[Drawn],
        share: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        mixing: Literal["mixed", "one_task"] = "mixed",
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.mixing = mixing
        self._streams: list[_Stream] = []
        weights: list[float] = []
        for source, weight in zip(drawn, share, strict=True):
            if not weight:
                continue
            for rows in _groups(source, mixing):
                self._streams.append(_Stream(rows, (seed, len(self._streams))))
                weights.append(weight * len(rows) / len(source.rows))
        self._batches = sum(len(stream.rows) for stream in self._streams) // batch_size
        if not self._batches:
            total = sum(len(stream.rows) for stream in self._streams)
            raise InputError(
                f"{total} training queries do not fill one batch of {batch_size}", fix="lower data.batch_size"
            )
        edges = np.concatenate([[0.0], np.cumsum(weights)])
        self._edges = edges / edges[-1]
        self._before = [np.zeros(len(self._streams), dtype=np.int64)]
        """Queries that each stream has given before the start of every epoch known so far."""
        self._epoch: tuple[int, np.ndarray] | None = None

    def batches(self) -> int:
        """Batches per epoch: the same number in each."""
        return self._batches

    def batch(self, epoch: int, number: int) -> list[Draw]:
        """The draws of one global batch: (epoch, position in the epoch, row of the mixture)."""
        upto = self._upto(epoch)
        parts = [
            stream.rows_from(int(start), int(end - start))
            for stream, start, end in zip(self._streams, upto[number], upto[number + 1], strict=True)
            if end > start
        ]
        rows = np.concatenate(parts)
        rows = rows[np.random.default_rng((self.seed, epoch, number)).permutation(len(rows))]
        first = number * self.batch_size
        return [(epoch, first + place, int(row)) for place, row in enumerate(rows)]

    def _upto(self, epoch: int) -> np.ndarray:
        """[batches + 1, streams] what each stream has given before every batch of an epoch, since the start."""
        if self._epoch is None or self._epoch[0] != epoch:
            while len(self._before) <= epoch:
                last = len(self._before) - 1
                self._before.append(self._before[last] + self._counts(last).sum(axis=0))
            counts = self._counts(epoch)
            upto = self._before[epoch] + np.concatenate([np.zeros_like(counts[:1]), counts.cumsum(axis=0)])
            self._epoch = (epoch, upto)
        return self._epoch[1]

    def _counts(self, epoch: int) -> np.ndarray:
        """[batches, streams] how many queries of each stream every batch has."""
        point = np.random.default_rng((self.seed, epoch)).random(self._batches)
        if self.mixing == "one_task":
            chosen = np.searchsorted(self._edges[1:-1], point, side="right")
            return self.batch_size * (chosen[:, None] == np.arange(len(self._streams))).astype(np.int64)
        upto = np.floor(self._edges * self.batch_size + point[:, None]).astype(np.int64)
        upto[:, -1] = self.batch_size  # whatever the rounding
        return np.diff(upto, axis=1)


class _Stream:
    """Rows in permutation after permutation."""

    def __init__(self, rows: np.ndarray, key: tuple[int, int]) -> None:
        self.rows = rows
        self._key = key
        self._turn = -1
        self._permuted = rows

    def rows_from(self, start: int, count: int) -> np.ndarray:
        """Return `count` rows from the place `start` of the endless sequence."""
        parts = []
        while count:
            turn, place = divmod(start, len(self.rows))
            parts.append(self._permutation(turn)[place : place + count])
            start, count = start + len(parts[-1]), count - len(parts[-1])
        return np.concatenate(parts)

    def _permutation(self, turn: int) -> np.ndarray:
        if turn != self._turn:
            self._turn = turn
            self._permuted = np.random.default_rng((*self._key, turn)).permutation(self.rows)
        return self._permuted


def _groups(source: Drawn, mixing: str) -> list[np.ndarray]:
    if mixing == "mixed":
        return [source.rows]
    return [source.rows[source.task == task] for task in np.unique(source.task)]
