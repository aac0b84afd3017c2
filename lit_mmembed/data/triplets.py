"""What one training query brings to a batch: itself, one of its positives, and the hard negatives drawn for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from lit_mmembed.data.instructions import Instructions, PromptPolicy, choose
from lit_mmembed.data.reader import ShardReader
from lit_mmembed.errors import InputError
from lit_mmembed.types import EncoderRow, Sample, Side, Task

log = logging.getLogger(__name__)
NO_LIMITS: Mapping[Side, int | None] = {Side.QUERY: None, Side.CANDIDATE: None}

Draw = tuple[int, int, int]
"""(epoch, position in the epoch, row of the query): what the batch order asks for."""


class Negatives(Protocol):
    """Where hard negatives come from; `data.negatives.MinedNegatives` reads a file of them."""

    def draw(self, query: Sample, generator: np.random.Generator) -> str | None:
        """Return the id of one negative of the query, or None when it has none to give."""
        ...


@dataclass(frozen=True, slots=True)
class Triplet:
    """A query, a drawn positive and drawn negatives: section 4.1.1's triplet, with ids for the mask of the loss."""

    query: EncoderRow
    positive: tuple[str, EncoderRow]
    negatives: tuple[tuple[str, EncoderRow], ...]
    known_positives: tuple[str, ...]
    task: int


class Triplets:
    """A map-style dataset over training queries, indexed by `Draw`.

    Every choice (which positive, which negative, which wording) comes from a generator seeded by (seed, epoch,
    position), so that it is the same for any number of workers and processes and after a resume. `lengths` are the
    source's own limits of tokens.
    """

    def __init__(
        self,
        queries: ShardReader,
        candidates: ShardReader,
        tasks: tuple[Task, ...],
        *,
        instructions: Instructions | None,
        policy: PromptPolicy,
        negatives: Negatives | None,
        seed: int,
        on_bad_sample: Literal["raise", "skip"] = "raise",
        lengths: Mapping[Side, int | None] = NO_LIMITS,
    ) -> None:
        self.lengths = lengths
        self.queries = queries
        self.candidates = candidates
        self.tasks = tasks
        self.policy = policy
        self.negatives = negatives
        self.seed = seed
        self.on_bad_sample = on_bad_sample
        self.wordings = query_wordings(tasks, instructions, policy)
        self._task_index = {task.name: index for index, task in enumerate(tasks)}

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, draw: Draw) -> Triplet:
        epoch, position, row = draw
        while True:
            try:
                return self._triplet(row, np.random.default_rng((self.seed, epoch, position)))
            except InputError as bad:
                if self.on_bad_sample == "raise":
                    raise
                log.warning("skipped a training query: %s", bad)
                row = (row + 1) % len(self)

    def _triplet(self, row: int, generator: np.random.Generator) -> Triplet:
        query = self.queries[row]
        if not query.positives or query.task is None:
            raise InputError("a training query without positives", record=query.id, fix="remove it from the split")
        positive = query.positives[int(generator.integers(len(query.positives)))]
        negative = self.negatives.draw(query, generator) if self.negatives else None
        if negative in query.positives:
            record = f"query {query.id}, document {negative}"
            raise InputError("is positive and negative at once", record=record, fix="correct the data, or mine again")
        index = self._task_index[query.task]
        task = self.tasks[index]
        instruction = choose(self.wordings[task.name], self.policy, generator)
        return Triplet(
            query=EncoderRow(query.text, query.image, Side.QUERY, instruction, task, self.lengths[Side.QUERY]),
            positive=self._document(positive),
            negatives=() if negative is None else (self._document(negative),),
            known_positives=query.positives,
            task=index,
        )

    def _document(self, did: str) -> tuple[str, EncoderRow]:
        return did, document_row(self.candidates.by_id(did), length=self.lengths[Side.CANDIDATE])


def document_row(sample: Sample, *, length: int | None = None) -> EncoderRow:
    """A document as the encoder takes it: no instruction (Table 11)."""
    return EncoderRow(sample.text, sample.image, Side.CANDIDATE, length=length)


def query_wordings(
    tasks: tuple[Task, ...], instructions: Instructions | None, policy: PromptPolicy
) -> dict[str, tuple[str, ...]]:
    """Wordings per task name; empty ones under the policy `none`. A missing row is an error before anything runs."""
    if policy is PromptPolicy.NONE:
        return {task.name: () for task in tasks}
    if instructions is None:
        raise InputError(
            f"the prompt policy {policy} needs an instruction file and the data directory has none",
            file="instructions.tsv",
            fix="shard the data with its instructions, or set the policy to none",
        )
    return {task.name: instructions.wordings(task) for task in tasks}
