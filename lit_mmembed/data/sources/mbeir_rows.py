"""Where the records of M-BEIR's JSONL files lie: numbers only, about 35 bytes a record.

The 5.6 million documents of the test split (2.4 GB of JSON) thus take 200 MB, and any of them can be read again.
"""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lit_mmembed.data.sources.base import Line, parse_object
from lit_mmembed.data.sources.mbeir_records import Draft, Record
from lit_mmembed.types import MODALITIES, Modality, stable_id

NO_IMAGE = -1
COLUMNS = {"file": "h", "line": "i", "offset": "q", "image": "q", "name": "q", "modality": "b", "dataset": "i"}
"""Index into `files`; line from 1; byte where it begins; `stable_id` of the image's path or NO_IMAGE; `stable_id` of
the record's id; modality code; the id's dataset number."""


class Rows:
    """The records of one part ("candidates/test") and where each lies."""

    def __init__(self, part: str, files: Sequence[Path]) -> None:
        self.part = part
        self.files = list(files)
        self._columns = {name: array(code) for name, code in COLUMNS.items()}

    def __len__(self) -> int:
        return len(self._columns["line"])

    def add(self, file: int, line: Line, draft: Draft, dataset: int) -> None:
        """Note one record."""
        image = NO_IMAGE if draft.image_path is None else stable_id(draft.image_path)
        row = (file, line.number, line.offset, image, stable_id(draft.sample.id), draft.sample.modality.code, dataset)
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)

    def column(self, name: str) -> np.ndarray:
        """Return a column of COLUMNS as [n]; it is a copy."""
        return np.array(self._columns[name])

    def keep(self, wanted: np.ndarray) -> None:
        """Forget the rows that `wanted` ([n] bool) leaves out."""
        for name, code in COLUMNS.items():
            self._columns[name] = array(code, self.column(name)[wanted].tobytes())

    def place(self, row: int) -> tuple[Path, int]:
        """Return file and line of a row."""
        return self.files[self._columns["file"][row]], self._columns["line"][row]

    def read(self, rows: Sequence[int] | np.ndarray) -> Iterator[tuple[int, Record]]:
        """Read the records of `rows` again, in that order; fast where they stand in the files' order."""
        for row in rows:
            stream = self._streams[self._columns["file"][row]]
            stream.seek(self._columns["offset"][row])
            yield row, parse_object(stream.readline())

    @cached_property
    def _streams(self) -> list[BinaryIO]:
        """The open files: one image's samples are read at a time, so opening them each time would cost more."""
        streams: list[BinaryIO] = [path.open("rb") for path in self.files]
        for stream in streams:
            weakref.finalize(self, stream.close)
        return streams


class RowIndex:
    """Finds the rows of a part by id."""

    def __init__(self, rows: Rows) -> None:
        names = rows.column("name")
        self._order = np.argsort(names, kind="stable")
        self._names = names[self._order]
        self._modality = rows.column("modality")

    def find(self, sample_id: str) -> int | None:
        """Return the first row with this id, or None."""
        name = stable_id(sample_id)
        place = int(np.searchsorted(self._names, name))
        if place == len(self._names) or self._names[place] != name:
            return None
        return int(self._order[place])

    def modality_of(self, sample_id: str) -> Modality | None:
        """Return the modality of the record with this id, or None."""
        row = self.find(sample_id)
        return None if row is None else MODALITIES[self._modality[row]]

    def repeated(self) -> np.ndarray:
        """Return the rows [m] whose id an earlier row has already."""
        again = np.flatnonzero(self._names[1:] == self._names[:-1]) + 1
        return np.sort(self._order[again])
