"""The rows of a text set in the order of its files, parsed, each with its split: the same ones every time."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lit_mmembed.data.sources.base import SPLITS
from lit_mmembed.data.sources.texts import nli, pairs, tevatron, triplets
from lit_mmembed.data.sources.texts.files import TextFile, find_files, named_files, rows_of
from lit_mmembed.data.sources.texts.rows import Asked, Columns, Parsed
from lit_mmembed.errors import InputError

TRAIN = SPLITS[0]
CORPUS = re.compile(r"(^|[^a-z])corpus([^a-z]|$)")
HASHES = 2**64

Parse = Callable[[Any, Columns], Parsed]


class Form(NamedTuple):
    """How the rows of a format are read."""

    parse: Parse
    roles: tuple[str, ...]
    """What `columns` may name."""
    by_content: bool
    """Whether documents have no ids of their own."""


FORMS = {
    "tevatron": Form(tevatron.parse, (), False),
    "triplets": Form(triplets.parse, triplets.ROLES, True),
    "nli": Form(nli.parse, nli.ROLES, True),
    "pairs": Form(pairs.parse, pairs.ROLES, True),
}


class Read(NamedTuple):
    """A row, parsed."""

    place: tuple[Path, int]
    part: str
    """Side and split, for what is said of a damaged row."""
    split: str
    content: Parsed | InputError


class Reading(NamedTuple):
    """How a set is read, beyond its form: `TextSource` explains each."""

    files: Mapping[str, Sequence[str]] | None = None
    columns: Mapping[str, str | Sequence[str]] | None = None
    corpus: Sequence[Path] | None = None
    held_out: Mapping[str, float] | None = None


class TextRows:
    """Iterates over the rows of a set, corpus first.

    Args:
        root: A file, or a folder of them.
        form: One of FORMS.
        reading: Which files, columns and shares.
    """

    def __init__(self, root: Path, form: str, reading: Reading) -> None:
        self.root, self.form = root, FORMS[form]
        self.columns = _checked_columns(reading.columns or {}, form, self.form.roles)
        self.held_out = _checked_shares(reading.held_out or {})
        if reading.corpus and form != "tevatron":
            raise InputError(f"{form} has no corpus", file=root, fix="leave the corpus out, or use tevatron")
        found = named_files(root, reading.files) if reading.files else find_files(root)
        self.corpus = [file for path in reading.corpus or () for file in find_files(path)]
        if form == "tevatron" and not reading.corpus:
            self.corpus = [file for file in found if CORPUS.search(file.path.name.lower())]
        taken = {file.path.resolve() for file in self.corpus}
        self.files = [file for file in found if file.path.resolve() not in taken]
        if not self.files:
            raise InputError("has no training rows beside the corpus", file=root, fix="give train.jsonl or its like")
        for split in self.held_out:
            if any(file.split == split for file in self.files):
                raise InputError(f"has files of {split}, and held_out makes it too", file=root, fix="do one of both")

    def __iter__(self) -> Iterator[Read]:
        for file in self.corpus:
            yield from self._parsed(file, tevatron.parse_corpus, "candidates")
        for file in self.files:
            yield from self._parsed(file, self.form.parse, "queries")

    def _parsed(self, file: TextFile, parse: Parse, side: str) -> Iterator[Read]:
        for place, content in rows_of(file.path):
            split, parsed = file.split or TRAIN, content
            if not isinstance(content, InputError):
                try:
                    parsed = parse(content, self.columns)
                except InputError as wrong:
                    parsed = wrong
            if isinstance(parsed, Asked) and split == TRAIN and self.held_out:
                split = self._drawn(parsed.text)
            yield Read(place, f"{side}/{split}", split, parsed)

    def _drawn(self, query: str) -> str:
        """The split of a training query: a function of its words alone."""
        point, edge = words_of(query) / HASHES, 0.0
        for split, share in self.held_out.items():
            edge += share
            if point < edge:
                return split
        return TRAIN


def words_of(query: str) -> int:
    """Hash a query to 64 bits, whatever its case and its blanks: what tells whether two splits share it."""
    words = " ".join(query.casefold().split())
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big")


def _checked_columns(columns: Mapping[str, str | Sequence[str]], form: str, roles: Sequence[str]) -> Columns:
    unknown = sorted(set(columns) - set(roles))
    if unknown:
        fix = f"use {', '.join(roles)}" if roles else "leave columns out"
        raise InputError(f"{form} has no column for {', '.join(unknown)}", fix=fix)
    return {role: (named,) if isinstance(named, str) else tuple(named) for role, named in columns.items()}


def _checked_shares(shares: Mapping[str, float]) -> dict[str, float]:
    fix = "write shares between 0 and 1 that leave some to train: val=0.05 test=0.05"
    for split, share in shares.items():
        if split not in SPLITS[1:]:
            raise InputError(f"nothing can be held out for {split!r}", fix=fix)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise InputError(f"share {share!r} of {split} is out of range", fix=fix)
    if sum(shares.values()) >= 1:
        raise InputError("all is held out", fix=fix)
    return dict(sorted(shares.items()))
