"""What is embedded, in which order: every query or document of a split once, sorted so that batches pad little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lit_mmembed.data.instructions import Instructions, PromptPolicy
from lit_mmembed.data.reader import ShardReader
from lit_mmembed.data.triplets import document_row, query_wordings
from lit_mmembed.types import EncoderRow, Side, Task

WORDING_MARK = "#w"
"""Under the policy `all`, query q is embedded as q#w1, q#w2, ...: one per wording."""


class RowsToEncode:
    """A map-style dataset of (row of the store, EncoderRow).

    Documents: one row each. Queries: one row each, with the wording that the policy gives; under `all`, one row per
    query and wording. `random` draws one wording per query, seeded by (seed, row).
    """

    def __init__(
        self,
        reader: ShardReader,
        side: Side,
        *,
        tasks: tuple[Task, ...] = (),
        instructions: Instructions | None = None,
        policy: PromptPolicy = PromptPolicy.NONE,
        seed: int = 0,
        subset: np.ndarray | None = None,
    ) -> None:
        self.reader = reader
        self.side = side
        self.tasks = tasks
        self.policy = policy
        self.seed = seed
        self.wordings = query_wordings(tasks, instructions, policy) if side is Side.QUERY else {}
        rows = np.arange(len(reader)) if subset is None else np.asarray(subset)
        self._rows, self._wording = self._expand(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[int, EncoderRow]:
        row = int(self._rows[index])
        sample = self.reader[row]
        if self.side is Side.CANDIDATE:
            return index, document_row(sample)
        task = self.tasks[int(self.reader.task[row])]
        wordings = self.wordings[task.name]
        instruction = wordings[self._wording[index]] if wordings else None
        return index, EncoderRow(sample.text, sample.image, Side.QUERY, instruction, task)

    @property
    def ids(self) -> np.ndarray:
        """[n] object array: the ids that the store keeps."""
        ids = np.asarray(self.reader.ids, dtype=object)[self._rows]
        if self.side is Side.QUERY and self.policy is PromptPolicy.ALL:
            return np.array(
                [f"{name}{WORDING_MARK}{w + 1}" for name, w in zip(ids, self._wording, strict=True)], object
            )
        return ids

    @property
    def rows(self) -> np.ndarray:
        """[n] int64: the row of the shard set behind each row of the store."""
        return self._rows

    @property
    def modality(self) -> np.ndarray:
        """[n] int8 modality codes."""
        return np.asarray(self.reader.modality)[self._rows]

    @property
    def task(self) -> np.ndarray:
        """[n] int16 task index, -1 for documents."""
        return np.asarray(self.reader.task)[self._rows]

    @property
    def cost(self) -> np.ndarray:
        """[n] int64: what sorts the rows, modality first, then the text's length."""
        return self.modality.astype(np.int64) * (1 << 40) + np.asarray(self.reader.tokens)[self._rows]

    @property
    def characters(self) -> np.ndarray:
        """[n] int64: characters of each row's text and instruction."""
        texts = np.asarray(self.reader.tokens)[self._rows].astype(np.int64)
        if self.side is Side.CANDIDATE or not self.wordings:
            return texts
        longest = [max((len(w) for w in self.wordings[task.name]), default=0) for task in self.tasks]
        return texts + np.array(longest, dtype=np.int64)[self.task]

    def _expand(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.side is Side.CANDIDATE or self.policy in (PromptPolicy.FIRST, PromptPolicy.NONE):
            return rows, np.zeros(len(rows), dtype=np.int64)
        counts = np.array([len(self.wordings[task.name]) for task in self.tasks])[self.reader.task[rows]]
        if self.policy is PromptPolicy.ALL:
            return np.repeat(rows, counts), np.concatenate([np.arange(count) for count in counts])
        drawn = [np.random.default_rng((self.seed, int(row))).integers(n) for row, n in zip(rows, counts, strict=True)]
        return rows, np.array(drawn, dtype=np.int64)


class SortedBatches:
    """A batch sampler over `RowsToEncode`: the longest first, so that memory trouble shows at once.

    Process r of W takes every W-th batch, and each gets as many: batches are smaller where rows are few, and where they
    don't come out even some rows are embedded twice (Lightning leaves a process without a batch out of the evaluation,
    and sharded weights are gathered by all processes or none). `missing` limits it to rows that a killed run has not
    written.

    With `tokens` (an estimate for each row) and `budget`, a batch ends where its tokens would pass the budget; a longer
    row is a batch of its own. `rows_per_batch` still holds.
    """

    def __init__(
        self,
        cost: np.ndarray,
        rows_per_batch: int,
        *,
        missing: np.ndarray | None = None,
        rank: int = 0,
        world: int = 1,
        tokens: np.ndarray | None = None,
        budget: int | None = None,
    ) -> None:
        rows = np.arange(len(cost)) if missing is None else np.asarray(missing)
        order = rows[np.argsort(-cost[rows], kind="stable")]
        size = max(1, min(rows_per_batch, -(-len(order) // world)))
        tokens = np.zeros(len(cost), dtype=np.int64) if tokens is None or budget is None else tokens
        batches = _cut(order, size, tokens, budget or 0)
        batches += batches[:1] * (-len(batches) % world)
        self._batches: Sequence[np.ndarray] = batches[rank::world]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._batches:
            yield batch.tolist()


def _cut(order: np.ndarray, size: int, tokens: np.ndarray, budget: int) -> list[np.ndarray]:
    """Cut rows into batches of at most `size` rows and `budget` tokens."""
    batches = []
    upto = np.cumsum(tokens[order])
    start = 0
    while start < len(order):
        before = upto[start - 1] if start else 0
        within = int(np.searchsorted(upto, before + budget, side="right"))
        end = max(start + 1, min(start + size, within if upto[-1] else len(order)))
        batches.append(order[start:end])
        start = end
    return batches
