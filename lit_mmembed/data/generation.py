"""Examples that teach a multimodal LLM to answer: captions, texts, questions about a picture, True or False.

Everything is made from the samples of a retrieval benchmark. Each draw comes from (seed, epoch, position) alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.judging import FALSE, IMAGE, TRUE, Prompt, answering_prompt, judging_prompt, judging_template
from lit_mmembed.data.tasks import task_by_name
from lit_mmembed.data.triplets import Draw
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample, Task

DESCRIBE = Prompt(f"{IMAGE}\nDescribe the image.", ())
NOTHING = Prompt("", ())


KINDS = ("caption", "text", "answer", "cloze", "judgement")
CLOZE_TASK = task_by_name("webqa_task1")
"""Whose words a question about two texts is asked in."""
CLOZE_WORDS = (2, 6)
"""How many words, at least and at most, a stretch of a text has."""


class Example(NamedTuple):
    """What the model reads and what it is to write."""

    kind: str
    """One of KINDS."""
    prompt: Prompt
    answer: str
    task: int = -1
    """Place of the query's task among the directory's; -1 where no query stands behind it."""


@dataclass
class Shares:
    """How often each kind of example is drawn, relative to the others; one that the data lacks is not drawn."""

    caption: float = 1.0
    """A picture -> its caption: what a picture asks for, or the text that asks for it."""
    text: float = 1.0
    """Nothing -> a document's text: plain language modelling."""
    answer: float = 1.0
    """A query that asks for a text, in the words in which it is judged -> that text."""
    cloze: float = 1.0
    """A stretch of a document's text -> the text, or whether a text has it: matching words, which needs no labels (the
    inverse cloze task)."""
    judgement: float = 1.0
    """Query and document -> True or False: a pair of both for one query."""


class Sources:
    """The samples of one split by what can be made of them."""

    def __init__(self, directory: DataDirectory, split: str) -> None:
        self.tasks = directory.tasks
        self.queries = directory.queries(split)
        self.candidates = directory.candidates(split)
        self._pools = {name: rows for name, rows in directory.pools(split).items() if len(rows)}
        self.texts = self._text_rows()
        task = np.asarray(self.queries.task)
        both = (Modality.TEXT, Modality.IMAGE)
        captions = [place for place, named in enumerate(self.tasks) if {*both} == {*_modalities(named)}]
        answers = [place for place, named in enumerate(self.tasks) if _asks_for_text(named)]
        rows = {
            "caption": np.flatnonzero(np.isin(task, captions)),
            "answer": np.flatnonzero(np.isin(task, answers)),
            "judgement": np.flatnonzero(task >= 0),
        }
        self.rows = {kind: found for kind, found in rows.items() if len(found)}

    def caption(self, row: int, generator: np.random.Generator) -> Example:
        """Ask for the caption of a picture: a query and one of its positives, one of them a picture, one a text."""
        query, positive = self._pair(row, generator)
        text, image = query.text or positive.text, query.image or positive.image
        prompt = DESCRIBE._replace(images=() if image is None else (image,))
        return Example("caption", prompt, str(text), int(self.queries.task[row]))

    def answer(self, row: int, generator: np.random.Generator) -> Example:
        """Ask for the text of one of a query's positives."""
        query, positive = self._pair(row, generator)
        place = int(self.queries.task[row])
        prompt = answering_prompt(self.tasks[place], query)
        assert prompt is not None
        return Example("answer", prompt, str(positive.text), place)

    def text(self, generator: np.random.Generator) -> Example:
        """Take the text of a document, to be continued from nothing."""
        row = self.texts[int(generator.integers(len(self.texts)))]
        return Example("text", NOTHING, str(self.candidates[int(row)].text))

    def cloze(self, generator: np.random.Generator) -> tuple[Example, ...]:
        """Ask for the text that a stretch of words is from, or in a pair whether it is from this text."""
        rows = self.texts[generator.permutation(len(self.texts))[:2]]
        own, other = (str(self.candidates[int(row)].text) for row in rows)
        query = Sample("", f"{_stretch(own, generator)}?")
        if generator.integers(2):
            prompt = answering_prompt(CLOZE_TASK, query)
            assert prompt is not None
            return (Example("cloze", prompt, own),)
        pairs = ((own, TRUE), (other, FALSE))
        return tuple(Example("cloze", judging_prompt(CLOZE_TASK, query, Sample("", text)), a) for text, a in pairs)

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

    def _pair(self, row: int, generator: np.random.Generator) -> tuple[Sample, Sample]:
        query = self.queries[row]
        return query, self.candidates.by_id(_drawn(query.positives, generator))

    def _text_rows(self) -> np.ndarray:
        return np.flatnonzero(np.asarray(self.candidates.modality) == Modality.TEXT.code)


class TrainingExamples:
    """A map-style dataset over the training queries, indexed by `Draw`; an item is one example, or a pair.

    A judgement is about the draw's own query, so that an epoch passes over all of them; other kinds draw their sample.
    """

    def __init__(self, sources: Sources, shares: Shares, *, seed: int) -> None:
        self.sources = sources
        self.seed = seed
        lacking = {"caption", "answer", "judgement"} - sources.rows.keys()
        lacking |= set() if len(sources.texts) > 1 else {"text", "cloze"}
        given = {kind: share for kind, share in vars(shares).items() if kind not in lacking}
        if sum(given.values()) <= 0:
            raise InputError(f"no kind of example is drawn: {vars(shares)}", fix="give one of them a share above 0")
        self._kinds = list(given)
        self._chances = np.array(list(given.values())) / sum(given.values())

    def __len__(self) -> int:
        return len(self.sources.queries)

    def __getitem__(self, draw: Draw) -> tuple[Example, ...]:
        epoch, position, row = draw
        generator = np.random.default_rng((self.seed, epoch, position))
        kind = self._kinds[int(generator.choice(len(self._kinds), p=self._chances))]
        if kind == "text":
            return (self.sources.text(generator),)
        if kind == "cloze":
            return self.sources.cloze(generator)
        if kind == "judgement":
            return tuple(self.sources.judgement(row, answer, generator) for answer in (TRUE, FALSE))
        make = self.sources.caption if kind == "caption" else self.sources.answer
        rows = self.sources.rows[kind]
        return (make(int(rows[int(generator.integers(len(rows)))]), generator),)


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


def _stretch(text: str, generator: np.random.Generator) -> str:
    words = text.rstrip(".").split()
    least, most = CLOZE_WORDS
    length = int(generator.integers(least, most + 1))
    start = int(generator.integers(max(1, len(words) - length + 1)))
    return " ".join(words[start : start + length])


def _modalities(task: Task) -> tuple[Modality, Modality]:
    return task.query_modality, task.candidate_modality


def _asks_for_text(task: Task) -> bool:
    return task.candidate_modality is not Modality.IMAGE and "{c_txt}" in judging_template(task)


def _drawn(ids: tuple[str, ...], generator: np.random.Generator) -> str:
    if not ids:
        raise InputError("a training query without positives", fix="remove it from the split")
    return ids[int(generator.integers(len(ids)))]
