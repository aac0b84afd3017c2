"""What training draws from, and in which order: the triplets of one data directory, or of several in a mixture."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.instructions import Instructions, PromptPolicy
from lit_mmembed.data.mixture import Drawn, Mixture, MixtureOrder, shares
from lit_mmembed.data.negatives import MinedNegatives, OwnNegatives
from lit_mmembed.data.order import BatchOrder
from lit_mmembed.data.reserved import refuse_reserved
from lit_mmembed.data.triplets import Draw, Triplet, Triplets
from lit_mmembed.errors import InputError
from lit_mmembed.files import file_hash
from lit_mmembed.types import EncoderRow, Side

SPLIT = "train"
OWN, IN_BATCH = "own", "in_batch"


class SourceSettings(NamedTuple):
    """How one data directory is trained on."""

    directory: DataDirectory
    negatives: str | None
    """A file; `own`; `in_batch` or None: none."""
    when_empty: Literal["other", "in_batch"]
    kinds: tuple[str, ...] | None
    """Only these kinds of negatives."""
    policy: PromptPolicy
    query_length: int | None
    candidate_length: int | None


class TrainingSet:
    """A map-style dataset indexed by `Draw`, whose rows are those of all sources, one after another.

    Ids of the second source on carry the directory's hash, since two sources may call different documents alike; tasks
    are numbered over all sources.
    """

    def __init__(
        self, sources: Sequence[SourceSettings], *, seed: int, on_bad_sample: Literal["raise", "skip"] = "raise"
    ) -> None:
        self.sources = tuple(sources)
        self.parts = [_triplets(source, seed, on_bad_sample) for source in self.sources]
        self.tasks = tuple(task for source in self.sources for task in source.directory.tasks)
        own = self.sources[0].directory.hash
        self._marks = ["" if s.directory.hash == own else f"{s.directory.hash}/" for s in self.sources]
        self._first_row = np.cumsum([0, *(len(part) for part in self.parts)])
        self._first_task = np.cumsum([0, *(len(source.directory.tasks) for source in self.sources)])

    def __len__(self) -> int:
        return int(self._first_row[-1])

    def __getitem__(self, draw: Draw) -> Triplet:
        epoch, position, row = draw
        place = int(np.searchsorted(self._first_row, row, side="right")) - 1
        triplet = self.parts[place][epoch, position, row - int(self._first_row[place])]
        if not place:
            return triplet
        mark = self._marks[place]

        def marked(document: tuple[str, EncoderRow]) -> tuple[str, EncoderRow]:
            return mark + document[0], document[1]

        return dataclasses.replace(
            triplet,
            positive=marked(triplet.positive),
            negatives=tuple(marked(negative) for negative in triplet.negatives),
            known_positives=tuple(mark + did for did in triplet.known_positives),
            task=triplet.task + int(self._first_task[place]),
        )

    def drawn(self) -> list[Drawn]:
        """The rows of each source, a query as often as an epoch has it, with their tasks."""
        drawn = []
        for part, source, first in zip(self.parts, self.sources, self._first_row, strict=False):
            repeats = source.directory.repeats(SPLIT)
            rows = np.arange(len(part)) if repeats is None else np.repeat(np.arange(len(part)), repeats)
            drawn.append(Drawn(rows + int(first), np.asarray(part.queries.task)[rows]))
        return drawn

    def check(self, preprocess: Any) -> None:
        """Raise InputError for what would go wrong during training and can be seen before it.

        A text that spells the image's token, limits that the encoder does not take, a source without negatives beside
        one with, negatives of other queries, a document that is positive and negative at once, a negative that the pool
        lacks. Queries whose own negatives are wrong are left to training where it skips bad samples.
        """
        has = [source.negatives not in (None, IN_BATCH) for source in self.sources]
        for source, part in zip(self.sources, self.parts, strict=True):
            refuse_reserved(preprocess, (part.queries, part.candidates))
            if source.negatives is None and any(has):
                fix = f"mine them and name the file, or say negatives: {OWN}, or negatives: {IN_BATCH} if none is meant"
                raise InputError("has no negatives, and another source has", file=source.directory.path, fix=fix)
            limited = source.query_length or source.candidate_length
            if limited and not getattr(preprocess, "takes_lengths", False):
                fix = "leave query_length and candidate_length out"
                raise InputError(
                    "the encoder has one fixed length and takes no other", record=str(source.directory.path), fix=fix
                )
            if isinstance(part.negatives, MinedNegatives):
                part.negatives.check(part.queries, part.candidates, source.directory.qrels_path(SPLIT))
            elif isinstance(part.negatives, OwnNegatives) and part.on_bad_sample == "raise":
                part.negatives.check(part.queries, part.candidates)

    def record(self, share: np.ndarray) -> list[dict[str, Any]]:
        """What each source was, for the record of the weights."""
        return [
            {
                "path": str(source.directory.path),
                "data_hash": source.directory.hash,
                "share": float(part),
                "negatives": source.negatives,
                "negatives_hash": negatives_hash(source.negatives),
                "prompts": str(source.policy),
                "query_length": source.query_length,
                "candidate_length": source.candidate_length,
            }
            for source, part in zip(self.sources, share, strict=True)
        ]


def order_of(
    training: TrainingSet,
    mixture: Mixture | None,
    *,
    batch_size: int,
    seed: int,
    mixing: Literal["mixed", "one_task"],
) -> BatchOrder | MixtureOrder:
    """The order of a single source's queries, or of a mixture's."""
    if mixture is None:
        repeats = training.sources[0].directory.repeats(SPLIT)
        task = np.asarray(training.parts[0].queries.task)
        return BatchOrder(task, batch_size=batch_size, seed=seed, mixing=mixing, repeats=repeats)
    drawn = training.drawn()
    share = shares(mixture, [len(source.rows) for source in drawn])
    return MixtureOrder(drawn, share, batch_size=batch_size, seed=seed, mixing=mixing)


def settings_of(main: SourceSettings, mixture: Mixture | None) -> list[SourceSettings]:
    """The settings of all sources, the main one first, which hold where the mixture does not say another."""
    if mixture is None:
        return [main]
    first = main._replace(query_length=mixture.query_length, candidate_length=mixture.candidate_length)
    return [
        first,
        *(
            SourceSettings(
                DataDirectory(source.path, on_bad_sample=main.directory.on_bad_sample),
                source.negatives,
                source.when_empty,
                None,
                PromptPolicy(source.prompts) if source.prompts else main.policy,
                source.query_length,
                source.candidate_length,
            )
            for source in mixture.sources
        ),
    ]


def negatives_of(source: SourceSettings) -> MinedNegatives | OwnNegatives | None:
    """Where a source's hard negatives come from."""
    if source.negatives in (None, IN_BATCH):
        return None
    if source.negatives == OWN:
        return OwnNegatives()
    return MinedNegatives(str(source.negatives), when_empty=source.when_empty, kinds=source.kinds)


def _triplets(source: SourceSettings, seed: int, on_bad_sample: Literal["raise", "skip"]) -> Triplets:
    directory = source.directory
    return Triplets(
        directory.queries(SPLIT),
        directory.candidates(SPLIT),
        directory.tasks,
        instructions=Instructions.load(directory.instructions_path) if directory.instructions_path else None,
        policy=source.policy,
        negatives=negatives_of(source),
        seed=seed,
        on_bad_sample=on_bad_sample,
        lengths={Side.QUERY: source.query_length, Side.CANDIDATE: source.candidate_length},
    )


def negatives_hash(negatives: str | Path | None) -> str | None:
    """The hash of a file of negatives; None where there is no file."""
    return None if negatives is None or str(negatives) in (OWN, IN_BATCH) else file_hash(negatives)
