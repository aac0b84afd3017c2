"""What a step and a pool are made of: kinds of rows with their share and length, from a data directory or from M-BEIR.

Every row is (text tokens, images). Lengths are means per task, side and modality, so that attention, which grows with
the square of a length, is a little underestimated where lengths vary.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from lit_mmembed.data.tasks import MBEIR_TASKS, PUBLISHED_COUNTS
from lit_mmembed.training.published import MBEIR_TRAIN_QUERIES
from lit_mmembed.types import Modality, Side, Task

TEXT_TOKENS = 40
"""Assumed of a text where no data directory is named."""
INSTRUCTION_TOKENS = 19
"""Of an instruction: M-BEIR's 64 wordings have 74 characters on average."""
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Kind:
    """Rows that are alike."""

    side: Side
    modality: Modality
    count: float
    text_tokens: int
    """Of the row's own text and, for a query, its instruction."""

    @property
    def images(self) -> int:
        """Images of each row."""
        return 0 if self.modality is Modality.TEXT else 1

    def times(self, factor: float) -> Kind:
        """The same kind, more or fewer of it."""
        return Kind(self.side, self.modality, self.count * factor, self.text_tokens)


@dataclass(frozen=True)
class Workload:
    """What is trained on and what is embedded."""

    queries: tuple[Kind, ...]
    """Of one epoch."""
    documents: tuple[Kind, ...]
    """The positives of these queries, one each."""
    pool: tuple[Kind, ...]
    """The documents to embed."""
    assumptions: tuple[str, ...]

    @property
    def epoch(self) -> float:
        """Queries of an epoch."""
        return sum(kind.count for kind in self.queries)

    @property
    def pool_size(self) -> float:
        """Documents of the pool."""
        return sum(kind.count for kind in self.pool)

    def step(self, batch_size: int, negatives: int) -> tuple[Kind, ...]:
        """The rows of a step: queries, positives, and negatives of the positives' mix."""
        queries = tuple(kind.times(batch_size / self.epoch) for kind in self.queries)
        return queries + tuple(kind.times(batch_size * (1 + negatives) / self.epoch) for kind in self.documents)


def mbeir(*, instructions: bool, tasks: Sequence[str] = ()) -> Workload:
    """M-BEIR as published: Table 8's training queries, the global pool of the test split, assumed lengths.

    Args:
        instructions: Whether queries carry one.
        tasks: Only these rows; none: all.
    """
    asked = INSTRUCTION_TOKENS if instructions else 0
    queries, documents, pool = [], [], []
    for task in (task for task in MBEIR_TASKS if not tasks or task.name in tasks):
        count = MBEIR_TRAIN_QUERIES[task.name]
        queries.append(Kind(Side.QUERY, task.query_modality, count, asked + _text(task.query_modality)))
        documents.append(mbeir_documents(task, count))
        pool.append(mbeir_documents(task, PUBLISHED_COUNTS[task.name].pool))
    assumptions = (
        f"M-BEIR's training queries by task (Table 8) and its global test pool; {TEXT_TOKENS} tokens a text",
        f"{INSTRUCTION_TOKENS} tokens an instruction" if instructions else "no instructions",
    )
    return Workload(merged(queries), merged(documents), merged(pool), assumptions)


@lru_cache(maxsize=16)
def of_directory(path: Path, *, instructions: bool) -> Workload:
    """What a data directory holds: its training queries, the modalities asked for, and the test pool.

    A text has a quarter as many tokens as characters. Raises InputError where it is no data directory.
    """
    import numpy as np

    from lit_mmembed.data.directory import DataDirectory

    directory = DataDirectory(path)
    asked = INSTRUCTION_TOKENS if instructions else 0
    reader, repeats = directory.queries("train"), directory.repeats("train")
    lengths = mean_lengths(reader.modality, reader.tokens)
    cells = np.asarray(reader.task).astype(int) * len(Modality) + np.asarray(reader.modality)
    times = np.bincount(cells, weights=repeats, minlength=len(directory.tasks) * len(Modality))
    counted = {divmod(cell, len(Modality)): float(times[cell]) for cell in np.flatnonzero(times).tolist()}
    train = directory.candidates("train")
    of_document = mean_lengths(train.modality, train.tokens)
    kinds = tuple(Modality)
    queries = [
        Kind(Side.QUERY, kinds[code], n, asked + lengths.get(kinds[code], 0)) for (_, code), n in counted.items()
    ]
    documents = []
    for (task, _), n in counted.items():
        wanted = directory.tasks[task].candidate_modality
        documents.append(Kind(Side.CANDIDATE, wanted, n, of_document.get(wanted, 0)))
    split = "test" if "test" in directory.splits else "train"
    candidates = directory.candidates(split)
    of_pool = mean_lengths(candidates.modality, candidates.tokens)
    codes = np.bincount(candidates.modality, minlength=len(kinds)).tolist()
    pool = [Kind(Side.CANDIDATE, kind, codes[kind.code], of_pool.get(kind, 0)) for kind in kinds]
    assumptions = (
        f"modalities and lengths of {path}: train, and the pool of {split}; {CHARACTERS_PER_TOKEN} characters a token",
        f"{INSTRUCTION_TOKENS} tokens an instruction" if instructions else "no instructions",
    )
    return Workload(merged(queries), merged(documents), merged(pool), assumptions)


def mixed(parts: Sequence[Workload], share: Sequence[float]) -> Workload:
    """Training that draws from several sources; what is embedded is the first's.

    Args:
        parts: [S] the sources.
        share: [S] of the training, that sums to 1. An epoch has as many queries as the sources with a share.
    """
    epoch = sum(part.epoch for part, one in zip(parts, share, strict=True) if one)
    queries: list[Kind] = []
    documents: list[Kind] = []
    for part, one in zip(parts, share, strict=True):
        factor = one * epoch / part.epoch if part.epoch else 0.0
        queries += [kind.times(factor) for kind in part.queries]
        documents += [kind.times(factor) for kind in part.documents]
    assumptions = dict.fromkeys(text for part in parts for text in part.assumptions)
    return Workload(merged(queries), merged(documents), parts[0].pool, tuple(assumptions))


def limited(workload: Workload, query: int | None, candidate: int | None) -> Workload:
    """Return the workload with no text of training longer than so many tokens; None is no limit."""
    sides = []
    for kinds, limit in ((workload.queries, query), (workload.documents, candidate)):
        cut = (replace(kind, text_tokens=min(kind.text_tokens, limit)) for kind in kinds) if limit else kinds
        sides.append(merged(cut))
    return replace(workload, queries=sides[0], documents=sides[1])


def merged(kinds: Iterable[Kind]) -> tuple[Kind, ...]:
    """Add up equal kinds, and leave out those without rows."""
    counts: dict[tuple[Side, Modality, int], float] = {}
    for kind in kinds:
        key = (kind.side, kind.modality, kind.text_tokens)
        counts[key] = counts.get(key, 0) + kind.count
    return tuple(Kind(side, modality, n, text) for (side, modality, text), n in counts.items() if n)


def mbeir_documents(task: Task, count: float) -> Kind:
    """Documents that a task of M-BEIR asks for."""
    return Kind(Side.CANDIDATE, task.candidate_modality, count, _text(task.candidate_modality))


def _text(modality: Modality) -> int:
    return 0 if modality is Modality.IMAGE else TEXT_TOKENS


def mean_lengths(modality: object, characters: object) -> Mapping[Modality, int]:
    """Return the mean tokens of the texts of each modality that occurs, from arrays of codes and of characters."""
    import numpy as np

    codes, lengths = np.asarray(modality), np.asarray(characters)
    present = [kind for kind in Modality if (codes == kind.code).any()]
    return {kind: round(float(lengths[codes == kind.code].mean()) / CHARACTERS_PER_TOKEN) for kind in present}
