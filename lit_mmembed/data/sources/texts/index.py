"""What a text set holds, in arrays: which row speaks of which query, which passages belong to it, what contradicts.

No text is kept. A row costs 41 bytes, a mention of a passage 25, and a document with an id of its own 40 and its id;
sorting takes as much again for a moment.

Shapes: R rows that ask; D documents with a text, in order of appearance, repeats counted.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from lit_mmembed.data.sources.texts.rows import ID_BYTES, Asked, Passage, content_key

KEY = f"S{ID_BYTES}"
POSITIVE, NEGATIVE = 1, 0

BOTH = "is positive and negative at once"
UNKNOWN = "is not among the documents"
OTHER_TEXT = "has another text than in an earlier row"


class Fault(NamedTuple):
    """Why a row's query is not used."""

    problem: str
    mention: int = 0
    """Which of the row's passages it is about, positives first."""


class Recorder:
    """Takes what rows say, in their order; `finish` sorts it.

    Args:
        by_content: Documents and queries are named by their content, so that every mention of a document has its text.
    """

    def __init__(self, *, by_content: bool) -> None:
        self.by_content = by_content
        self.row_query, self.row_text, self.row_split = bytearray(), bytearray(), array("b")
        self.row_words = array("Q")
        self.pair_row, self.pair_sign, self.pair_key = array("q"), array("b"), bytearray()
        self.document_key = self.pair_key if by_content else bytearray()
        self.document_text = bytearray()
        self.names = _Names()
        self._rows = 0

    def document(self, passage: Passage) -> None:
        """Record a document that has its text."""
        if passage.text is None or self.by_content:
            return
        self.document_key += key_of(passage)
        self.document_text += content_key(passage.text)
        self.names.append(str(passage.id))

    def asked(self, asked: Asked, split: int, words: int) -> None:
        """Record a row that asks; `words` hashes the query's text as splits are told apart by it."""
        self.row_query += content_key(f"{split} {asked.id or asked.text}")
        self.row_text += content_key(asked.text)
        self.row_split.append(split)
        self.row_words.append(words)
        for sign, passages in ((POSITIVE, asked.positives), (NEGATIVE, asked.negatives)):
            for passage in passages:
                self.pair_row.append(self._rows)
                self.pair_sign.append(sign)
                self.pair_key += key_of(passage)
                self.document(passage)
        self._rows += 1


class TextIndex:
    """The sorted arrays of a `Recorder`, which it uses up."""

    def __init__(self, seen: Recorder) -> None:
        self._by_content, self._names = seen.by_content, seen.names
        self.split = np.frombuffer(seen.row_split, dtype=np.int8)
        """[R] place among the splits."""
        self.words = np.frombuffer(seen.row_words, dtype=np.uint64)
        """[R] hash of the query's words."""
        self._codes: list[np.ndarray] = []
        self._edges: list[np.ndarray] = []
        _, first, self._query = np.unique(_keys(seen.row_query), return_index=True, return_inverse=True)
        self._place_documents(seen)
        self.faults: dict[int, Fault] = {}
        """Row -> what is wrong with it, or with its query as far as the row."""
        self._compare_texts(_keys(seen.row_text), first)
        self._place_pairs(np.frombuffer(seen.pair_row, dtype=np.int64), np.frombuffer(seen.pair_sign, dtype=np.int8))
        faulty = np.zeros(len(first), dtype=bool)
        faulty[self._query[list(self.faults)]] = True
        answered = np.diff(self._edges[POSITIVE]) > 0
        self.unanswered = int((~answered & ~faulty).sum())
        """Queries that have no positive."""
        self.emitted = np.zeros(len(self._query), dtype=bool)
        """[R] whether the row is the one at which its query is given out."""
        self.emitted[first[answered & ~faulty]] = True

    def passages(self, row: int, sign: int) -> tuple[str, ...]:
        """Ids of the positives or negatives of a row's query, in the order of the ids."""
        edges = self._edges[sign]
        codes = self._codes[sign][edges[self._query[row]] : edges[self._query[row] + 1]]
        return tuple(sorted(self.document_id(int(self._first[code])) for code in codes))

    def document_id(self, place: int) -> str:
        """The id of a document by its place [D]."""
        if self._by_content:
            return self._key[place].ljust(ID_BYTES, b"\0").hex()
        return self._names[place]

    def _place_documents(self, seen: Recorder) -> None:
        self._key, pair_key = _keys(seen.document_key), _keys(seen.pair_key)
        unique, self._first, self._code = np.unique(self._key, return_index=True, return_inverse=True)
        other = np.zeros(0, dtype=np.int64)
        if not seen.by_content:
            text = _keys(seen.document_text)
            other = np.flatnonzero(text != text[self._first[self._code]])
            self._code = np.searchsorted(unique, pair_key)
            known = self._code < len(unique)
            known[known] = unique[self._code[known]] == pair_key[known]
            self._code[~known] = -1
        self.is_first = np.zeros(len(self._key), dtype=bool)
        """[D] whether it is a document's first appearance."""
        self.is_first[self._first] = True
        self.conflicting = set(other.tolist())
        """Places [D] of documents whose id had another text before."""

    def _compare_texts(self, text: np.ndarray, first: np.ndarray) -> None:
        for row in np.flatnonzero(text != text[first[self._query]]).tolist():
            self.faults[row] = Fault(OTHER_TEXT)

    def _place_pairs(self, row: np.ndarray, sign: np.ndarray) -> None:
        query = self._query[row]
        order = np.lexsort((sign, self._code, query))
        order = order[self._code[order] >= 0]
        cell = np.stack([query[order], self._code[order]])
        same = (cell[:, 1:] == cell[:, :-1]).all(axis=0)
        both = np.flatnonzero(same & (sign[order][1:] != sign[order][:-1]))
        wrong = [(pair, UNKNOWN) for pair in np.flatnonzero(self._code < 0).tolist()]
        wrong += [(pair, BOTH) for pair in np.maximum(order[both], order[both + 1]).tolist()]
        for pair, problem in wrong:
            mention = pair - int(np.searchsorted(row, row[pair]))
            self.faults.setdefault(int(row[pair]), Fault(problem, mention))
        kept = order[np.concatenate([[True], ~same])[: len(order)]]
        places = np.arange(int(self._query.max(initial=-1)) + 2)
        for wanted in (NEGATIVE, POSITIVE):
            own = kept[sign[kept] == wanted]
            self._codes.append(self._code[own])
            self._edges.append(np.searchsorted(query[own], places))


def key_of(passage: Passage) -> bytes:
    """What two mentions of one document have in common."""
    return content_key(passage.id if passage.id is not None else str(passage.text))


def index_of(rows: Iterable[tuple[Asked, int, int] | Passage], *, by_content: bool) -> TextIndex:
    """Index rows (what is asked, place of the split, hash of the words) and documents."""
    seen = Recorder(by_content=by_content)
    for row in rows:
        if isinstance(row, Passage):
            seen.document(row)
        else:
            seen.asked(*row)
    return TextIndex(seen)


class _Names(Sequence[str]):
    """A list of strings as one piece of bytes."""

    def __init__(self) -> None:
        self._letters, self._ends = bytearray(), array("Q", [0])

    def append(self, name: str) -> None:
        self._letters += name.encode()
        self._ends.append(len(self._letters))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, place: int) -> str:  # type: ignore[override]
        return self._letters[self._ends[place] : self._ends[place + 1]].decode()


def _keys(content: bytearray) -> np.ndarray:
    return np.frombuffer(content, dtype=KEY)
