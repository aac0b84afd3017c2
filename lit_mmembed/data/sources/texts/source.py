"""A set of texts in any of the known forms as one task, text to text.

Two passes over the files: the first keeps hashes only (`index.TextIndex`), the second gives the samples out.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from lit_mmembed.data.building import BadSample, Qrel
from lit_mmembed.data.sources.base import SPLITS, Item, Pools, Qrels, bad_sample
from lit_mmembed.data.sources.beir import DATASET_ID, MBEIR_ID, text_task
from lit_mmembed.data.sources.texts.index import BOTH, NEGATIVE, POSITIVE, UNKNOWN, TextIndex, index_of
from lit_mmembed.data.sources.texts.instructions import InstructionFile, dataset_name
from lit_mmembed.data.sources.texts.reading import Read, Reading, TextRows, words_of
from lit_mmembed.data.sources.texts.rows import Asked, LeftOut, Passage, content_id, shortened
from lit_mmembed.errors import InputError
from lit_mmembed.types import Sample, Task

log = logging.getLogger(__name__)


class TextSource:
    """Reads one set of texts; every id begins with the set's number, as M-BEIR's do.

    Args:
        root: A file, or a folder of them.
        form: One of `reading.FORMS`.
        name: The set's name; None takes the file's or the folder's.
        dataset_id: The set's number.
        splits: Which splits to read; None reads those that have queries. The documents of all files are in the pool
            of every split.
        files: The files of each split, within the folder; None goes by the words in their names, and takes `train`
            where there is none.
        columns: Role ("query", "positive", "premise", ...) -> the column that holds it, or several.
        corpus: tevatron: the files of the corpus; None takes the folder's files with "corpus" in their names.
        held_out: Split ("val", "test") -> share of the training queries that it gets, by a hash of their words.
        instructions: One to four wordings; none means that there is no instruction file.
    """

    def __init__(
        self,
        root: Path,
        *,
        form: str,
        name: str | None = None,
        dataset_id: int = DATASET_ID,
        splits: Sequence[str] | None = None,
        files: Mapping[str, Sequence[str]] | None = None,
        columns: Mapping[str, str | Sequence[str]] | None = None,
        corpus: Sequence[Path] | None = None,
        held_out: Mapping[str, float] | None = None,
        instructions: Sequence[str] = (),
    ) -> None:
        self.root = Path(root)
        self.name = dataset_name(self.root.resolve().name.partition(".")[0] if name is None else name)
        task = text_task(self.name, dataset_id)
        self.tasks: tuple[Task, ...] = (task,)
        self._instructions = InstructionFile({task: instructions}) if instructions else None
        self.instructions_path = self._instructions.path if self._instructions else None
        self._prefix, self._wanted = f"{dataset_id}:", splits
        self._rows = TextRows(self.root, form, Reading(files, columns, corpus, held_out))

    def items(self) -> Iterator[Item]:
        """Yield each document once for every split, and each query at the first row that asks it."""
        place = row = 0
        for read in self._rows:
            if isinstance(read.content, InputError):
                yield bad_sample(read.part, read.place, None, read.content)
                continue
            for passage in _documents(read.content):
                yield from self._document(passage, place, read.place)
                place += 1
            if isinstance(read.content, Asked):
                yield from self._query(read, read.content, row)
                row += 1
        if not self._splits:
            raise InputError("holds no query with a positive", file=self.root, fix="give another file or folder")

    def qrels(self) -> Qrels:
        """Return each query's positives, with relevance 1."""
        return {split: self._judged(split) for split in self._splits}

    def pools(self) -> Pools:
        """Return all documents as the local pool."""
        return {split: {self.tasks[0].name: self._document_ids()} for split in self._splits}

    def repeats(self) -> Mapping[str, Mapping[str, int]]:
        """Return nothing: every query is there once."""
        return {}

    def licences(self) -> tuple[str, ...]:
        """Return nothing: the files do not say."""
        return ()

    @cached_property
    def _index(self) -> TextIndex:
        left_out: Counter[str] = Counter()

        def rows() -> Iterator[tuple[Asked, int, int] | Passage]:
            for read in self._rows:
                if isinstance(read.content, LeftOut):
                    left_out[read.content.reason] += 1
                elif isinstance(read.content, Asked):
                    yield read.content, SPLITS.index(read.split), words_of(read.content.text)
                elif isinstance(read.content, Passage):
                    yield read.content

        index = index_of(rows(), by_content=self._rows.form.by_content)
        left_out["premises without an entailment"] = index.unanswered
        counted = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()) if count)
        if counted:
            log.warning("%s: left out %s", self.root, counted)
        return index

    @cached_property
    def _splits(self) -> tuple[str, ...]:
        """Splits that have a query and are wanted."""
        asked = self._index.emitted.copy()
        asked[list(self._index.faults)] = True
        there = [SPLITS[code] for code in np.unique(self._index.split[asked])]
        for split in self._wanted or ():
            if split not in there:
                raise InputError(f"has no queries for {split}", file=self.root, fix=f"there are {there}")
        for split in self._rows.held_out:
            if split not in there:
                log.warning("%s: the set is too small for a query to be held out for %s", self.root, split)
        splits = tuple(split for split in there if self._wanted is None or split in self._wanted)
        self._warn_of_shared_queries(splits)
        return splits

    def _warn_of_shared_queries(self, splits: Sequence[str]) -> None:
        index, seen = self._index, np.zeros(0, dtype=np.uint64)
        for split in splits:
            words = np.unique(index.words[index.emitted & (index.split == SPLITS.index(split))])
            shared = len(np.intersect1d(words, seen, assume_unique=True))
            if shared:
                log.warning("%s: %d queries of %s stand in an earlier split too", self.root, shared, split)
            seen = np.union1d(seen, words)

    def _document(self, passage: Passage, place: int, where: tuple[Path, int]) -> Iterator[Item]:
        did = self._prefix + _id(passage)
        if self._index.is_first[place]:
            for split in self._splits:
                yield f"candidates/{split}", Sample(did, passage.text)
        elif place in self._index.conflicting:
            wrong = InputError("duplicate id", fix="it had another text before: give each text an id of its own")
            for split in self._splits:
                yield bad_sample(f"candidates/{split}", where, did, wrong)

    def _query(self, read: Read, asked: Asked, row: int) -> Iterator[Item]:
        if read.split not in self._splits:
            return
        qid = self._prefix + _id(asked)
        if row in self._index.faults:
            bad = bad_sample(read.part, read.place, None, self._fault(asked, row))
            yield BadSample(bad.part, qid, bad.error)
        elif self._index.emitted[row]:
            positives, negatives = (self._ids(row, sign) for sign in (POSITIVE, NEGATIVE))
            name = self.tasks[0].name
            yield read.part, Sample(qid, asked.text, task=name, positives=positives, negatives=negatives)

    def _fault(self, asked: Asked, row: int) -> InputError:
        problem, mention = self._index.faults[row]
        record = shortened(asked.text) if asked.id is None else self._prefix + asked.id
        passage = [*asked.positives, *asked.negatives][mention]
        shown = f"passage {passage.id or shortened(str(passage.text))}"
        if problem == BOTH:
            return InputError(f"{shown} {problem}", record=record, fix="take the passage out of one of the two")
        if problem == UNKNOWN:
            return InputError(f"{shown} {problem}", record=record, fix="give the corpus that has it, or remove it")
        return InputError(problem, record=record, fix="give every query an id of its own")

    def _ids(self, row: int, sign: int) -> tuple[str, ...]:
        return tuple(self._prefix + did for did in self._index.passages(row, sign))

    def _judged(self, split: str) -> Iterator[Qrel]:
        asking = (read for read in self._rows if isinstance(read.content, Asked))
        for row, read in enumerate(asking):
            if read.split == split and self._index.emitted[row]:
                assert isinstance(read.content, Asked)
                qid = self._prefix + _id(read.content)
                yield from ((qid, did, 1, MBEIR_ID) for did in self._ids(row, POSITIVE))

    def _document_ids(self) -> Iterator[str]:
        for place in np.flatnonzero(self._index.is_first):
            yield self._prefix + self._index.document_id(int(place))


def _documents(content: Asked | Passage | LeftOut) -> Sequence[Passage]:
    """The passages of a row that have their text, in the order in which the index saw them."""
    if isinstance(content, Passage):
        return (content,)
    if isinstance(content, Asked):
        return [each for each in (*content.positives, *content.negatives) if each.text is not None]
    return ()


def _id(named: Asked | Passage) -> str:
    return content_id(str(named.text)) if named.id is None else named.id
