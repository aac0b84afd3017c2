"""The first pass over one split of M-BEIR: where each record lies, and what is wrong with any of them.

The second pass (`mbeir.py`) reads the records again, in the order in which their images come.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np

from lit_mmembed.data.building import BadSample
from lit_mmembed.data.sources.base import Line, bad_sample, lines, parse_object
from lit_mmembed.data.sources.mbeir_records import Draft, Record, dataset_of, parse_candidate, parse_query
from lit_mmembed.data.sources.mbeir_rows import RowIndex, Rows
from lit_mmembed.errors import InputError
from lit_mmembed.types import Task, stable_id


class SplitScan:
    """Everything about one split that the first pass finds.

    Args:
        split: Its name.
        query_files: M-BEIR's query lines.
        candidate_files: The pool; a document that stands in several files counts once.
        tasks: Every row that a query may belong to.
        selected: Names of the rows to keep. With all of `tasks` every document is kept; otherwise the documents of the
            selected rows' local pools, and those that a kept query names as positives.
    """

    def __init__(
        self,
        split: str,
        query_files: Sequence[Path],
        candidate_files: Sequence[Path],
        *,
        tasks: Sequence[Task],
        selected: Sequence[str],
    ) -> None:
        self.split = split
        self.bad: list[BadSample] = []
        self.repeats: dict[str, int] = {}
        """How often a query's line stands in the upsampled union, where more than once."""
        self.candidates = Rows(f"candidates/{split}", candidate_files)
        self.queries = Rows(f"queries/{split}", query_files)
        self._tasks = tasks
        self._selected = frozenset(selected)
        self._named = array("q")
        self._copies: dict[int, int] = {}
        self._each_line(self.candidates, self._add_candidate)
        self._drop_duplicates()
        self.index = RowIndex(self.candidates)
        self._each_line(self.queries, self._add_query)
        if len(self._selected) < len(tasks):
            self._drop_candidates()

    def _each_line(self, rows: Rows, add: Callable[[int, Line, Record], None]) -> None:
        field = "did" if rows is self.candidates else "qid"
        for number, path in enumerate(rows.files):
            for line in lines(path):
                record: Record = {}
                try:
                    record = parse_object(line.content)
                    add(number, line, record)
                except InputError as wrong:
                    found = record.get(field)
                    name = found if isinstance(found, str) else None
                    self.bad.append(bad_sample(rows.part, (path, line.number), name, wrong))

    def _add_candidate(self, file: int, line: Line, record: Record) -> None:
        draft = parse_candidate(record)
        self.candidates.add(file, line, draft, dataset_of(draft.sample.id))

    def _drop_duplicates(self) -> None:
        """Forget a document that an earlier file has too; complain about one that the same file has twice."""
        repeated = RowIndex(self.candidates).repeated()
        if not len(repeated):
            return
        file, name = self.candidates.column("file"), self.candidates.column("name")
        for row, record in self.candidates.read(repeated):
            if np.any(name[:row][file[:row] == file[row]] == name[row]):
                wrong = InputError("duplicate id", fix="give every document its own did")
                self.bad.append(bad_sample(self.candidates.part, self.candidates.place(row), record["did"], wrong))
        wanted = np.ones(len(self.candidates), dtype=bool)
        wanted[repeated] = False
        self.candidates.keep(wanted)

    def _add_query(self, file: int, line: Line, record: Record) -> None:
        draft = parse_query(record, self._tasks, self.index.modality_of)
        if draft.sample.task not in self._selected or self._is_copy(draft, line):
            return
        for did in draft.sample.positives:
            if self.index.find(did) is None:
                fix = "add the document to the pool, or remove it from pos_cand_list"
                raise InputError(f"positive {did} is not in the pool", fix=fix)
            self._named.append(stable_id(did))
        self.queries.add(file, line, draft, dataset_of(draft.sample.id))

    def _is_copy(self, draft: Draft, line: Line) -> bool:
        """Count a line that repeats an earlier one: M-BEIR's upsampling, legal in training only."""
        name, checksum = stable_id(draft.sample.id), crc32(line.content.strip())
        if name not in self._copies:
            self._copies[name] = checksum
            return False
        if self.split != "train" or self._copies[name] != checksum:
            raise InputError("duplicate id", fix="give every query its own qid")
        self.repeats[draft.sample.id] = self.repeats.get(draft.sample.id, 1) + 1
        return True

    def _drop_candidates(self) -> None:
        modality, dataset = self.candidates.column("modality"), self.candidates.column("dataset")
        wanted = np.isin(self.candidates.column("name"), np.array(self._named))
        for task in self._tasks:
            if task.name in self._selected:
                wanted |= (dataset == task.dataset_id) & (modality == task.candidate_modality.code)
        self.candidates.keep(wanted)
