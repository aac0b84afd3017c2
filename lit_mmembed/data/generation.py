"""Examples that teach a multimodal LLM to answer: captions, texts, questions about a picture, True or False.

Everything is made from the samples of a retrieval benchmark. Each draw comes from (seed, epoch, position) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.judging import FALSE, IMAGE, TRUE, Prompt, judging_prompt
from lit_mmembed.data.triplets import Draw
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample

DESCRIBE = Prompt(f"{IMAGE}\nDescribe the image.", ())
NOTHING = Prompt("", ())


class Example(NamedTuple):
    """What the model reads and what it is to write."""

    kind: str
    """`caption`, `text`, `answer` or `judgement`."""
    prompt: Prompt
    answer: str
    task: int = -1
    """Place of the query's task among the directory's; -1 where no query stands behind it."""


@dataclass
class Shares:
    """How often each kind of example is drawn, relative to the others; one that the data lacks is not drawn."""

    caption: float = 1.0
    """A picture -> its caption (queries of a picture alone)."""
    text: float = 1.0
    """Nothing -> a document's text: plain language modelling."""
    answer: float = 1.0
    """A picture with a question -> the passage that answers it."""
    judgement: float = 3.0
    """Query and document -> True or False."""


class Sources:
    """The samples of one split by what can be made of them."""

    def __init__(self, directory: DataDirectory, split: str) -> None:
        self.tasks = directory.tasks
        self.queries = directory.queries(split)
        self.candidates = directory.candidates(split)
        self._pools = {name: rows for name, rows in directory.pools(split).items() if len(rows)}
        self.texts = self._text_rows()
        task = np.asarray(self.queries.task)
        rows = {
            "caption": self._asking(task, Modality.IMAGE),
            "answer": self._asking(task, Modality.IMAGE_TEXT),
            "judgement": np.flatnonzero(task >= 0),
        }
        self.rows = {kind: found for kind, found in rows.items() if len(found)}

    def caption(self, row: int, generator: np.random.Generator) -> Example:
        """Ask for one of the captions of a query's picture."""
        query = self.queries[row]
        prompt = DESCRIBE._replace(images=_images(query))
        return Example("caption", prompt, self._positive_text(query, generator), int(self.queries.task[row]))

    def answer(self, row: int, generator: np.random.Generator) -> Example:
        """Ask a query's question about its picture."""
        query = self.queries[row]
        prompt = Prompt(f"{IMAGE}\n{query.text}", _images(query))
        return Example("answer", prompt, self._positive_text(query, generator), int(self.queries.task[row]))

    def text(self, generator: np.random.Generator) -> Example:
        """Take the text of a document, to be continued from nothing."""
        row = self.texts[int(generator.integers(len(self.texts)))]
        return Example("text", NOTHING, str(self.candidates[int(row)].text))

    def judgement(self, row: int, answer: str, generator: np.random.Generator) -> Example:
        """Ask whether a document answers the query: a positive, or any other document of the task's local pool."""
        query = self.queries[row]
        place = int(self.queries.task[row])
        task = self.tasks[place]
        if answer == TRUE:
            document = self.candidates.by_id(_drawn(query.positives, generator))
        else:
            document = self._other(query, task.name, generator)
        return Example("judgement", judging_prompt(task, query, document), answer, place)

    def _other(self, query: Sample, task: str, generator: np.random.Generator) -> Sample:
        pool = self._pools[task]
        if len(pool) <= len(query.positives):
            fix = "add documents that do not answer it"
            raise InputError(f"the pool of {task} has nothing but positives", record=query.id, fix=fix)
        while True:
            row = int(pool[int(generator.integers(len(pool)))])
            if self.candidates.key(row) not in query.positives:
                return self.candidates[row]

    def _positive_text(self, query: Sample, generator: np.random.Generator) -> str:
        return str(self.candidates.by_id(_drawn(query.positives, generator)).text)

    def _text_rows(self) -> np.ndarray:
        return np.flatnonzero(np.asarray(self.candidates.modality) == Modality.TEXT.code)

    def _asking(self, task: np.ndarray, asked_with: Modality) -> np.ndarray:
        """Rows of the queries of this modality that ask for a text."""
        fits = [
            place
            for place, named in enumerate(self.tasks)
            if named.query_modality is asked_with and named.candidate_modality is Modality.TEXT
        ]
        return np.flatnonzero(np.isin(task, fits))


class TrainingExamples:
    """A map-style dataset over the training queries, indexed by `Draw`: the query of the draw, or another example.

    A judgement is about the draw's own query, so that an epoch passes over all of them; other kinds draw their sample.
    """

    def __init__(self, sources: Sources, shares: Shares, *, seed: int) -> None:
        self.sources = sources
        self.seed = seed
        known = {"caption", "answer", "judgement"} - sources.rows.keys()
        lacking = known | (set() if len(sources.texts) else {"text"})
        given = {kind: share for kind, share in vars(shares).items() if kind not in lacking}
        if sum(given.values()) <= 0:
            raise InputError(f"no kind of example is drawn: {vars(shares)}", fix="give one of them a share above 0")
        self._kinds = list(given)
        self._chances = np.array(list(given.values())) / sum(given.values())

    def __len__(self) -> int:
        return len(self.sources.queries)

    def __getitem__(self, draw: Draw) -> Example:
        epoch, position, row = draw
        generator = np.random.default_rng((self.seed, epoch, position))
        kind = self._kinds[int(generator.choice(len(self._kinds), p=self._chances))]
        if kind == "text":
            return self.sources.text(generator)
        if kind == "judgement":
            answer = (TRUE, FALSE)[int(generator.integers(2))]
            return self.sources.judgement(row, answer, generator)
        make: Callable[[int, np.random.Generator], Example] = getattr(self.sources, kind)
        rows = self.sources.rows[kind]
        return make(int(rows[int(generator.integers(len(rows)))]), generator)


def validation_examples(sources: Sources, limit: int | None, *, seed: int) -> Iterator[Example]:
    """Yield a caption of every picture that asks for one, and two judgements of every query, one true and one false.

    Args:
        sources: A validation split.
        limit: At most this many queries per task; None takes all.
        seed: Seed of the negatives and of the captions.
    """
    for kind in ("caption", "judgement"):
        for row in limited(sources, sources.rows.get(kind, np.arange(0)), limit):
            generator = np.random.default_rng((seed, row))
            if kind == "caption":
                yield sources.caption(row, generator)
                continue
            for answer in (TRUE, FALSE):
                yield sources.judgement(row, answer, generator)


def limited(sources: Sources, rows: np.ndarray, limit: int | None) -> list[int]:
    """Return the first `limit` of the rows of each task."""
    task = np.asarray(sources.queries.task)[rows]
    kept = [rows[task == code][:limit] for code in np.unique(task)]
    return np.concatenate(kept).tolist() if kept else []


def _images(query: Sample) -> tuple[bytes, ...]:
    return () if query.image is None else (query.image,)


def _drawn(ids: tuple[str, ...], generator: np.random.Generator) -> str:
    if not ids:
        raise InputError("a training query without positives", fix="remove it from the split")
    return ids[int(generator.integers(len(ids)))]
