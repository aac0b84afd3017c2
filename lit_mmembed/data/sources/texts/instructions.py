"""The instruction file of text sets: M-BEIR's columns, made of the wordings that the user gives."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lit_mmembed.data.instructions import COLUMNS, KEY_COLUMNS
from lit_mmembed.errors import InputError
from lit_mmembed.types import Task

MOST = len(COLUMNS) - len(KEY_COLUMNS)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


class InstructionFile:
    """A TSV in a temporary folder, which lasts as long as this object.

    Args:
        wordings: The wordings of each task, one to four.
    """

    def __init__(self, wordings: Mapping[Task, Sequence[str]]) -> None:
        rows = ["\t".join(COLUMNS)]
        for task, listed in wordings.items():
            cells = [task.query_modality, task.candidate_modality, task.dataset, str(task.dataset_id)]
            rows.append("\t".join([*cells, *checked_wordings(listed)]))
        self._folder = tempfile.TemporaryDirectory(prefix="mmembed.")
        self.path = Path(self._folder.name) / "instructions.tsv"
        self.path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def checked_wordings(wordings: Sequence[str]) -> list[str]:
    """Take one to four wordings of an instruction, each a line of its own."""
    fix = f"give 1 to {MOST} sentences"
    if not 1 <= len(wordings) <= MOST:
        raise InputError(f"has {len(wordings)} instructions", fix=fix)
    for wording in wordings:
        if not isinstance(wording, str) or not wording.strip():
            raise InputError(f"instruction {wording!r} is no sentence", fix=fix)
        if len(wording.splitlines()) > 1 or "\t" in wording:
            raise InputError(f"instruction {wording!r} has a tab or a line break", fix="write it in one line")
    return [wording.strip() for wording in wordings]


def dataset_name(name: str) -> str:
    """Check the name of a set: it stands in task names, tables and the instruction file."""
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name of a data set", fix="give a name of letters, digits, and _ . + -")
    return name
