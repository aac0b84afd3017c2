"""What a split of a data directory is, as far as embedding, searching and asking about it cost something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lit_mmembed.data.tasks import MBEIR_TASKS, PUBLISHED_COUNTS
from lit_mmembed.errors import InputError
from lit_mmembed.training.published import CIRCO_IMAGES, CIRCO_QUERIES, MBEIR_QUERIES, TextSet, mbeir_pool
from lit_mmembed.training.workload import (
    CHARACTERS_PER_TOKEN,
    INSTRUCTION_TOKENS,
    TEXT_TOKENS,
    Kind,
    mbeir_documents,
    mean_lengths,
    merged,
)
from lit_mmembed.types import Modality, Side, Task


@dataclass(frozen=True)
class Asked:
    """The queries of one task."""

    task: Task
    queries: float
    query_text: int
    """Tokens of a query's text, its instruction not counted; 0 where it has none."""
    document_text: int
    """Tokens of the text of a document that is asked for."""
    pool: float
    """Documents of the task's local pool."""


@dataclass(frozen=True)
class Split:
    """Queries by task, and the pool that all of them search."""

    name: str
    asked: tuple[Asked, ...]
    pool: tuple[Kind, ...]
    assumptions: tuple[str, ...] = ()

    @property
    def queries(self) -> float:
        """All queries."""
        return sum(one.queries for one in self.asked)

    @property
    def documents(self) -> float:
        """All documents."""
        return sum(kind.count for kind in self.pool)

    @property
    def global_pairs(self) -> float:
        """Pairs that a search of the whole pool compares: Q x N."""
        return self.queries * self.documents

    @property
    def local_pairs(self) -> float:
        """Pairs that a search of each task's own pool compares."""
        return sum(one.queries * one.pool for one in self.asked)

    def rows(self, side: Side, *, instructions: bool) -> tuple[Kind, ...]:
        """Return the rows of a side that are embedded."""
        if side is Side.CANDIDATE:
            return self.pool
        more = INSTRUCTION_TOKENS if instructions else 0
        kinds = [Kind(side, one.task.query_modality, one.queries, more + one.query_text) for one in self.asked]
        return merged(kinds)


def mbeir_split(name: str, tasks: Sequence[str] | None = None, *, pool_of_val: str = "union") -> Split:
    """M-BEIR's, as Table 8 counts it; texts of an assumed length.

    Args:
        name: train, val or test.
        tasks: Only these rows; their local pools are then the whole pool.
        pool_of_val: `union`: the documents that validation queries name; `local`: the local pools, as in test
            (`mmembed shard --val-pool`).

    Raises:
        InputError: M-BEIR has no such split.
    """
    if name not in MBEIR_QUERIES:
        raise InputError(f"M-BEIR has no split {name!r}", fix=f"one of {', '.join(MBEIR_QUERIES)}")
    rows = [task for task in MBEIR_TASKS if not tasks or task.name in tasks]
    pools = {task.name: float(PUBLISHED_COUNTS[task.name].pool) for task in rows}
    assumed = [f"M-BEIR's {name} queries by task (Table 8); {TEXT_TOKENS} tokens a text"]
    if name == "test" or (name == "val" and pool_of_val == "local"):
        pool = merged(mbeir_documents(task, pools[task.name]) for task in rows)
    else:
        whole = mbeir_pool(name)
        named = MBEIR_QUERIES[name]
        total = sum(named.values())
        pools = {task.name: whole * named[task.name] / total for task in rows}
        pool = merged(mbeir_documents(task, pools[task.name]) for task in rows)
        assumed.append(f"its {name} pool has {whole:,} documents by the size of its file, of the positives' mix")
    asked = tuple(
        Asked(task, MBEIR_QUERIES[name][task.name], _text(task.query_modality), _text(task.candidate_modality), n)
        for task, n in ((task, pools[task.name]) for task in rows)
    )
    return Split(name, asked, pool, tuple(assumed))


@lru_cache(maxsize=16)
def directory_split(path: Path, name: str) -> Split:
    """A data directory's own: its queries by task, its pools, mean lengths by modality.

    Raises:
        InputError: it is no data directory, or has no such split.
    """
    import numpy as np

    from lit_mmembed.data.directory import DataDirectory

    directory = DataDirectory(path)
    queries, candidates = directory.queries(name), directory.candidates(name)
    of_query = mean_lengths(queries.modality, queries.tokens)
    of_document = mean_lengths(candidates.modality, candidates.tokens)
    pools, tasks = directory.pools(name), np.bincount(queries.task, minlength=len(directory.tasks)).tolist()
    asked = tuple(
        Asked(
            task,
            tasks[place],
            of_query.get(task.query_modality, 0),
            of_document.get(task.candidate_modality, 0),
            len(pools[task.name]),
        )
        for place, task in enumerate(directory.tasks)
    )
    codes = np.bincount(candidates.modality, minlength=len(Modality)).tolist()
    pool = [Kind(Side.CANDIDATE, kind, codes[kind.code], of_document.get(kind, 0)) for kind in Modality]
    assumed = f"queries, pools and lengths of {path}; {CHARACTERS_PER_TOKEN} characters a token"
    return Split(name, tuple(one for one in asked if one.queries), merged(pool), (assumed,))


def circo_split(name: str) -> Split:
    """CIRCO's: each split searches the whole gallery of 123,403 pictures."""
    if name not in CIRCO_QUERIES:
        raise InputError(f"CIRCO has no split {name!r}", fix=f"one of {', '.join(CIRCO_QUERIES)}")
    task = Task("CIRCO", 90, 7, 7, Modality.IMAGE_TEXT, Modality.IMAGE)
    asked = Asked(task, CIRCO_QUERIES[name], TEXT_TOKENS, 0, CIRCO_IMAGES)
    gallery = (Kind(Side.CANDIDATE, Modality.IMAGE, CIRCO_IMAGES, 0),)
    return Split(name, (asked,), gallery, (f"{CIRCO_IMAGES:,} pictures, {TEXT_TOKENS} tokens a text",))


def text_split(name: str, texts: TextSet) -> Split:
    """A task of texts, its lengths in characters turned into tokens."""
    task = Task(name, 100, 1, 9, Modality.TEXT, Modality.TEXT)
    query, document = (
        round(count / CHARACTERS_PER_TOKEN) for count in (texts.query_characters, texts.document_characters)
    )
    pool = (Kind(Side.CANDIDATE, Modality.TEXT, texts.documents, document),)
    return Split("test", (Asked(task, texts.queries, query, document, texts.searched / texts.queries),), pool)


def _text(modality: Modality) -> int:
    return 0 if modality is Modality.IMAGE else TEXT_TOKENS
