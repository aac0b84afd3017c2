"""Instructions in M-BEIR's TSV (section 4.1 and Table 11 of the paper): reading them, and choosing a wording."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Task

if TYPE_CHECKING:
    import numpy as np

MBEIR_INSTRUCTIONS = Path(__file__).with_name("mbeir_instructions.tsv")
"""M-BEIR's own file: 16 rows with four wordings each (MIT, from the data set TIGER-Lab/M-BEIR)."""

KEY_COLUMNS = ("query_modality", "cand_modality", "dataset_name", "dataset_id")
PROMPT_COLUMN = "prompt_"
COLUMNS = (*KEY_COLUMNS, *(f"{PROMPT_COLUMN}{number}" for number in range(1, 5)))
"""The header of M-BEIR's own file: four wordings a row."""

Key = tuple[int, Modality, Modality]
"""(dataset id, query modality, candidate modality)."""


class PromptPolicy(StrEnum):
    """How a query's instruction is chosen among its wordings; it is written into every result."""

    FIRST = "first"
    """The first wording: what pyserini and the paper's Table 11 use."""
    RANDOM = "random"
    """A wording drawn for each query: what UniIR does, in evaluation too."""
    ALL = "all"
    """Every wording counts: training draws one, evaluation encodes each query with each of them."""
    NONE = "none"
    """No instruction."""


class Instructions:
    """The wordings of each (dataset, query modality, candidate modality)."""

    def __init__(self, rows: Mapping[Key, tuple[str, ...]], file: str | Path | None = None) -> None:
        self._rows = dict(rows)
        self._file = file

    @classmethod
    def load(cls, path: str | Path) -> Instructions:
        """Read M-BEIR's tab-separated file; InputError names the file and the line of a broken row."""
        path = Path(path)
        rows: dict[Key, tuple[str, ...]] = {}
        for line, row in _rows(path):
            key, wordings = _parse(row, path, line)
            if key in rows:
                raise InputError("repeats an earlier row", file=f"{path}:{line}", fix="remove one of them")
            rows[key] = wordings
        return cls(rows, path)

    def wordings(self, task: Task) -> tuple[str, ...]:
        """Return the wordings of a task; InputError says which row the file lacks."""
        found = self._rows.get((task.dataset_id, task.query_modality, task.candidate_modality))
        if found:
            return found
        row = f"query_modality {task.query_modality}, cand_modality {task.candidate_modality}"
        raise InputError(
            f"has no instruction for {task.name}",
            file=self._file,
            fix=f"add a row with {row}, dataset_id {task.dataset_id} and at least {PROMPT_COLUMN}1",
        )

    def __len__(self) -> int:
        return len(self._rows)


def choose(wordings: Sequence[str], policy: PromptPolicy, generator: np.random.Generator) -> str | None:
    """Choose one wording: the first, a drawn one (`random` and `all`), or none."""
    if policy is PromptPolicy.NONE or not wordings:
        return None
    if policy is PromptPolicy.FIRST:
        return wordings[0]
    return wordings[int(generator.integers(len(wordings)))]


def format_text(text: str) -> str:
    r"""Tidy a text the way M-BEIR's texts are: capitalised, closed with a full stop, without outer quotes and \r.

    An empty text stays empty. M-BEIR's texts went through this once; it is for text from elsewhere, and for a query
    with its instruction in front.
    """
    text = text.replace("\r", "").strip().strip('"')
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else text + "."


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, cells by column) of every row that is not blank."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError("does not exist", file=path, fix="give M-BEIR's query_instructions.tsv") from None
    except UnicodeDecodeError as broken:
        raise InputError(f"is not UTF-8: {broken}", file=path, fix="save it as UTF-8") from None
    columns = [column.strip() for column in lines[0].split("\t")] if lines else []
    missing = [column for column in (*KEY_COLUMNS, f"{PROMPT_COLUMN}1") if column not in columns]
    if missing:
        fix = "the header is query_modality, cand_modality, dataset_name, dataset_id, prompt_1, ... with tabs between"
        raise InputError(f"lacks the column {', '.join(missing)}", file=f"{path}:1", fix=fix)
    for number, line in enumerate(lines[1:], start=2):
        if line.strip():
            yield number, dict(zip(columns, line.split("\t"), strict=False))


def _parse(row: Mapping[str, str], path: Path, line: int) -> tuple[Key, tuple[str, ...]]:
    place = f"{path}:{line}"
    wordings = tuple(cell.strip() for column, cell in row.items() if column.startswith(PROMPT_COLUMN) and cell.strip())
    if not wordings:
        raise InputError("has no wording", file=place, fix=f"fill {PROMPT_COLUMN}1")
    try:
        dataset_id = int(row["dataset_id"])
    except (KeyError, ValueError):
        problem = f"dataset_id {row.get('dataset_id')!r} is not an integer"
        raise InputError(problem, file=place, fix="write M-BEIR's dataset number") from None
    try:
        return (dataset_id, Modality.parse(row["query_modality"]), Modality.parse(row["cand_modality"])), wordings
    except InputError as wrong:
        raise InputError(wrong.problem, file=place, fix=wrong.fix) from None
