"""Composed image retrieval: a reference picture and a sentence ask for another picture (CIRCO, CIRR, FashionIQ).

What the protocols need beyond qrels travels in each query's `Sample.source` as JSON: `number` (what the data set calls
the query), `reference`, `target`, `members` of its subset, `aspects`, `captions`, and `query_text`, the text's form.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from lit_mmembed.data.building import BadSample, Qrel
from lit_mmembed.data.images import check_image
from lit_mmembed.data.sources.base import SPLITS, Item, Pools, Qrels
from lit_mmembed.data.sources.pictures import Pictures
from lit_mmembed.data.spelling import check_id, check_unicode, printable
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json
from lit_mmembed.types import Modality, Sample, Task

INSTRUCTIONS = Path(__file__).parents[1] / "composed_instructions.tsv"
MBEIR_ID, PAPER_ID = 7, 7
"""Image and text to image."""


class Asked(NamedTuple):
    """One query, pictures by their names."""

    id: str
    task: str
    reference: str
    text: str
    positives: tuple[str, ...]
    about: Mapping[str, Any]
    """What its protocol needs, documents by their ids."""
    place: Path
    """The annotation file."""


def composed_task(dataset: str, dataset_id: int, *, cutoff: int, domain: str) -> Task:
    """A task from image and text to image."""
    modalities = Modality.IMAGE_TEXT, Modality.IMAGE
    return Task(dataset, dataset_id, MBEIR_ID, PAPER_ID, *modalities, cutoff=cutoff, domain=domain)


class ComposedSource(ABC):
    """A data set of composed image retrieval.

    Args:
        root: The folder as its authors lay it out (docs/composed.md).
        splits: Which of train, val and test to read; None: all that are there. Each split holds its whole gallery.
        query_text: How a query's text is written; one of `query_texts`, the first by default.
    """

    name: str
    tasks: tuple[Task, ...]
    query_texts: tuple[str, ...]
    instructions_path: Path | None = INSTRUCTIONS

    def __init__(self, root: Path, splits: Sequence[str] | None = None, query_text: str | None = None) -> None:
        self.root = Path(root)
        self.query_text = query_text or self.query_texts[0]
        if self.query_text not in self.query_texts:
            problem = f"{self.name} has no query text {self.query_text!r}"
            raise InputError(problem, fix=f"give --query-text {', '.join(self.query_texts)}")
        there = [split for split in SPLITS if self._annotations(split)]
        for split in splits or ():
            if split not in there:
                raise InputError(f"has no annotations of split {split}", file=self.root, fix="docs/composed.md")
        self.splits = tuple(split for split in there if splits is None or split in splits)
        if not self.splits:
            raise InputError("has no annotation file", file=self.root, fix="check the layout: docs/composed.md")

    def items(self) -> Iterator[Item]:
        """Yield each split's gallery, then its queries; InputError at once where there are no pictures at all."""
        assert self.pictures
        for split in self.splits:
            for name in self._gallery(split):
                yield self._document(split, name)
            for asked in self._asked_of(split):
                yield asked if isinstance(asked, BadSample) else self._query(split, asked)

    def qrels(self) -> Qrels:
        """Return each query's positives, with relevance 1; a split without any has none."""
        judged = {split: list(self._judged(split)) for split in self.splits}
        return {split: rows for split, rows in judged.items() if rows}

    def pools(self) -> Pools:
        """Return each task's gallery."""
        return {
            split: {task: [self.did(name) for name in names] for task, names in self._galleries(split).items()}
            for split in self.splits
        }

    def repeats(self) -> Mapping[str, Mapping[str, int]]:
        """Return nothing: every query is there once."""
        return {}

    @abstractmethod
    def licences(self) -> tuple[str, ...]:
        """Return the licences of texts and images."""

    @abstractmethod
    def did(self, name: str) -> str:
        """Return the id of the document that a picture is."""

    @abstractmethod
    def _annotations(self, split: str) -> tuple[Path, ...]:
        """The annotation files of a split; none where it is absent."""

    @abstractmethod
    def _galleries(self, split: str) -> Mapping[str, Sequence[str]]:
        """Task name -> names of the pictures that it is searched in."""

    @abstractmethod
    def _queries(self, split: str) -> Iterator[Asked | BadSample]:
        """The queries of a split."""

    @property
    @abstractmethod
    def pictures(self) -> Pictures:
        """All pictures."""

    def _gallery(self, split: str) -> tuple[str, ...]:
        """The pictures of all galleries of a split, each once."""
        if split not in self._names:
            found = (name for names in self._galleries(split).values() for name in names)
            self._names[split] = tuple(dict.fromkeys(found))
        return self._names[split]

    @cached_property
    def _names(self) -> dict[str, tuple[str, ...]]:
        return {}

    @cached_property
    def _read(self) -> dict[str, tuple[Asked | BadSample, ...]]:
        return {}

    def _asked_of(self, split: str) -> tuple[Asked | BadSample, ...]:
        if split not in self._read:
            known = {task: set(names) for task, names in self._galleries(split).items()}
            self._read[split] = tuple(
                asked if isinstance(asked, BadSample) else _known(asked, known[asked.task], split)
                for asked in self._queries(split)
            )
        return self._read[split]

    def _judged(self, split: str) -> Iterator[Qrel]:
        for asked in self._asked_of(split):
            if not isinstance(asked, BadSample):
                for name in asked.positives:
                    yield asked.id, self.did(name), 1, MBEIR_ID

    def _document(self, split: str, name: str) -> Item:
        part, did = f"candidates/{split}", self.did(name)
        try:
            return part, Sample(did, image=self._picture(name), modality=Modality.IMAGE)
        except InputError as wrong:
            return BadSample(part, did, wrong)

    def _query(self, split: str, asked: Asked) -> Item:
        part = f"queries/{split}"
        about = {**asked.about, "reference": self.did(asked.reference), "query_text": self.query_text}
        try:
            sample = Sample(
                asked.id,
                asked.text,
                self._picture(asked.reference),
                Modality.IMAGE_TEXT,
                asked.task,
                tuple(self.did(name) for name in asked.positives),
                source=json.dumps(about, ensure_ascii=False, sort_keys=True),
            )
        except InputError as wrong:
            return BadSample(part, asked.id, wrong)
        return part, sample

    def _picture(self, name: str) -> bytes:
        image = self.pictures.read(name)
        check_image(image, record=name)
        return image


def _known(asked: Asked, gallery: set[str], split: str) -> Asked | BadSample:
    """Check that what a query names is in its gallery, and how it is spelled."""
    try:
        check_id(asked.id)
        check_unicode(asked.text, "the text")
    except InputError as wrong:
        bad = InputError(printable(wrong.problem), file=asked.place, fix=wrong.fix)
        return BadSample(f"queries/{split}", printable(asked.id), bad)
    for name in (asked.reference, *asked.positives):
        if name not in gallery:
            problem, fix = f"names picture {name}, which is not in the gallery", "check the list of pictures"
            return BadSample(f"queries/{split}", asked.id, InputError(problem, file=asked.place, fix=fix))
    return asked


def entries(path: Path, number: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (number, entry) of an annotation file, a JSON list of objects; `number` is the field, None counts them.

    Raises:
        InputError: it is no such list, an entry has no number, or two have one.
    """
    listed = read_json(path)
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise InputError("is not a list of queries", file=path, fix="fetch the annotations again")
    seen: set[str] = set()
    for place, entry in enumerate(listed):
        found = str(place if number is None else entry.get(number, ""))
        if not found or found in seen:
            problem = f"repeats {number} {found}" if found else f"lacks {number}"
            raise InputError(problem, file=path, record=f"entry {place}", fix="fetch the annotations again")
        seen.add(found)
        yield found, entry


def field(entry: Mapping[str, Any], name: str, kind: type) -> Any:
    """Return a field of an annotation; InputError (without a place) where it is missing, empty or of another kind."""
    found = entry.get(name)
    if not isinstance(found, kind) or isinstance(found, bool) or found in ("", [], {}):
        raise InputError(f"lacks {name}, or it is no {kind.__name__}", fix="fetch the annotations again")
    return found
