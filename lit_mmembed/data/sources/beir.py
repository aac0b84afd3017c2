"""A BEIR folder: corpus.jsonl, queries.jsonl and qrels/{train,dev,test}.tsv; text to text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lit_mmembed.data.building import Qrel
from lit_mmembed.data.sources.base import Item, Pools, Qrels, bad_sample, lines, parse_object
from lit_mmembed.data.spelling import check_id, check_unicode
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample, Task, stable_id

QRELS = {"train": "train.tsv", "val": "dev.tsv", "test": "test.tsv"}
DATASET_ID = 100
"""Beyond M-BEIR's ten data sets."""
MBEIR_ID = 1
"""Text to text."""
PAPER_ID = 9
CUTOFF = 10


def text_task(dataset: str, dataset_id: int) -> Task:
    """The task of a set of texts: the paper's number 9, which no average of M-BEIR's single-modal tasks counts."""
    text = Modality.TEXT
    return Task(dataset, dataset_id, MBEIR_ID, PAPER_ID, text, text, cutoff=CUTOFF, domain="text")


class BeirSource:
    """Reads a BEIR data set; ids stay as they are, so that other systems' runs fit.

    Args:
        root: The folder; its name is the data set's. An `instructions.tsv` in it is used.
        dataset_id: The data set's number in `instructions.tsv`.
        splits: Which of train, val (BEIR's dev) and test to read; None reads those that have qrels. Each split holds
            the whole corpus.
        name: The data set's name, where it is not the folder's.
        prefix: What stands in front of every id; a listing of several sets gives their numbers.
    """

    def __init__(
        self,
        root: Path,
        dataset_id: int = DATASET_ID,
        splits: Sequence[str] | None = None,
        *,
        name: str | None = None,
        prefix: str = "",
    ) -> None:
        self.root = Path(root)
        self.name = self.root.resolve().name if name is None else name
        self.tasks: tuple[Task, ...] = (text_task(self.name, int(dataset_id)),)
        self._prefix = prefix
        instructions = self.root / "instructions.tsv"
        self.instructions_path = instructions if instructions.exists() else None
        there = [split for split, file in QRELS.items() if (self.root / "qrels" / file).exists()]
        self._splits = there if splits is None else list(splits)
        for split in self._splits:
            if split not in there:
                raise InputError(f"has no qrels for {split}", file=self.root / "qrels", fix=f"there are {there}")
        if not self._splits:
            raise InputError(
                "has no train.tsv, dev.tsv or test.tsv", file=self.root / "qrels", fix="give a BEIR folder"
            )

    def items(self) -> Iterator[Item]:
        """Yield the corpus and the judged queries of each split."""
        for split in self._splits:
            yield from self._documents(f"candidates/{split}")
            yield from self._queries(split)

    def qrels(self) -> Qrels:
        """Return the judged pairs."""
        return {split: self._judged(split) for split in self._splits}

    def pools(self) -> Pools:
        """Return the whole corpus as the local pool."""
        return {split: {self.tasks[0].name: self._document_ids()} for split in self._splits}

    def repeats(self) -> Mapping[str, Mapping[str, int]]:
        """Return nothing: every query is there once."""
        return {}

    def licences(self) -> tuple[str, ...]:
        """Return nothing: BEIR's folders do not say."""
        return ()

    def _documents(self, part: str) -> Iterator[Item]:
        path = self.root / "corpus.jsonl"
        for line in lines(path):
            record: dict[str, Any] = {}
            try:
                record = parse_object(line.content)
                yield part, Sample(self._id(record), _text(record))
            except InputError as wrong:
                yield bad_sample(part, (path, line.number), self._found_id(record), wrong)

    def _queries(self, split: str) -> Iterator[Item]:
        path, part = self.root / "queries.jsonl", f"queries/{split}"
        positives: dict[str, list[str]] = defaultdict(list)
        unknown: dict[str, tuple[int, str]] = {}
        for line, (qid, did, relevance, _) in self._judged_lines(split):
            found = positives[qid]
            if not self._has_document(did):
                unknown[qid] = (line, did)
            elif relevance > 0:
                found.append(did)
        for qid, (line, did) in unknown.items():
            wrong = InputError(f"{did} is not in corpus.jsonl", fix="give the document, or remove the line")
            yield bad_sample(part, (self.root / "qrels" / QRELS[split], line), qid, wrong)
        for row in lines(path):
            record: dict[str, Any] = {}
            try:
                record = parse_object(row.content)
                qid = self._id(record)
                if qid in positives and qid not in unknown:
                    yield part, Sample(qid, _text(record), task=self.tasks[0].name, positives=tuple(positives[qid]))
            except InputError as wrong:
                yield bad_sample(part, (path, row.number), self._found_id(record), wrong)

    def _judged(self, split: str) -> Iterator[Qrel]:
        return (judged for _, judged in self._judged_lines(split))

    def _judged_lines(self, split: str) -> Iterator[tuple[int, Qrel]]:
        path = self.root / "qrels" / QRELS[split]
        seen: set[int] = set()
        for line in lines(path):
            cells = line.content.decode(errors="replace").rstrip("\r\n").split("\t")
            if line.number == 1 and not cells[-1].lstrip("-").isdecimal():
                continue
            try:
                qid, did, score = cells
                relevance = int(score)
            except ValueError:
                fix = "write three columns with tabs between: query-id, corpus-id, score"
                raise InputError("is no line of BEIR's qrels", file=f"{path}:{line.number}", fix=fix) from None
            pair = stable_id(f"{qid}\t{did}")
            if pair in seen:
                fix = "keep one of its lines, also where they say the same"
                raise InputError("is judged twice", file=f"{path}:{line.number}", record=f"{qid} {did}", fix=fix)
            seen.add(pair)
            yield line.number, (self._prefix + qid, self._prefix + did, relevance, MBEIR_ID)

    def _has_document(self, did: str) -> bool:
        known, name = self._known_documents, stable_id(did)
        place = int(np.searchsorted(known, name))
        return place < len(known) and int(known[place]) == name

    @cached_property
    def _known_documents(self) -> np.ndarray:
        """Hashes of all documents' ids, sorted: 8 bytes each, where a set of the ids takes a hundred."""
        return np.sort(np.fromiter((stable_id(did) for did in self._document_ids()), dtype=np.int64))

    def _id(self, record: dict[str, Any]) -> str:
        found = self._found_id(record)
        if found is None:
            raise InputError("lacks _id", fix="give every record an _id")
        check_id(found)
        return found

    def _found_id(self, record: dict[str, Any]) -> str | None:
        found = record.get("_id")
        return None if found is None or found == "" else f"{self._prefix}{found}"

    def _document_ids(self) -> Iterator[str]:
        for line in lines(self.root / "corpus.jsonl"):
            try:
                yield self._id(parse_object(line.content))
            except InputError:
                continue


def _text(record: dict[str, Any]) -> str:
    """Title and text as BEIR joins them; InputError when both are empty, or no Unicode."""
    text = f"{record.get('title') or ''} {record.get('text') or ''}".strip()
    if not text:
        raise InputError("has neither title nor text", fix="give it a text, or remove it")
    check_unicode(text, "the text")
    return text
