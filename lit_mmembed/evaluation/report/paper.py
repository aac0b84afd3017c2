"""The paper's figures beside ours: Tables 1 (retrieval), 2 (modality accuracy), 5 (instructions) and 6 (curricula)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.evaluation.report.collect import System
from lit_mmembed.evaluation.report.summary import ACCURACY, HIT, Measured
from lit_mmembed.files import read_json

FIGURES = Path(__file__).with_name("paper.json")
TABLE_OF = {HIT: "table1", ACCURACY: "table2"}
MBEIR_NAMES = frozenset(task.name for task in MBEIR_TASKS)


@dataclass(frozen=True)
class Figures:
    """One column of a table of the paper."""

    model: str
    encoder: str
    measure: str

    def value(self, row: Measured) -> float | None:
        """The paper's figure for a row, in percent; None where it has none.

        An M-BEIR row has its own figure. A row of another benchmark has the mean over the paper's rows of the same task
        number, which says only what the paper saw on this kind of task.
        """
        table = _tables()[TABLE_OF[self.measure]]
        place = _column(self.measure, self.model, self.encoder)
        values = [table["rows"][name][place] for name in _rows_beside(row) if name in table["rows"]]
        return sum(values) / len(values) if values else None


def figures_beside(systems: Sequence[System], measure: str) -> list[Figures]:
    """The paper's columns of the systems that it has, each once."""
    pairs = dict.fromkeys((system.model, encoder) for system in systems for encoder in (system.encoder, ""))
    return [Figures(*pair, measure) for pair in pairs if _column(measure, *pair) is not None]


def curriculum_figures(model: str) -> list[float | None]:
    """Table 6's two figures of a curriculum: M-BEIR's tasks 1 to 5, and BEIR."""
    found: list[float | None] = _tables()["table6"]["rows"].get(model, [None, None])
    return found


def instruction_columns() -> list[str]:
    """The columns of Table 5."""
    columns: list[str] = _tables()["table5"]["columns"]
    return columns


def instruction_figures(row: Measured) -> list[float | None]:
    """Table 5's figures of a row, or their means over the paper's rows of the same task number."""
    rows = [_tables()["table5"]["rows"][name] for name in _rows_beside(row) if name in _tables()["table5"]["rows"]]
    if not rows:
        return [None for _ in instruction_columns()]
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def is_mbeir(rows: Sequence[Measured]) -> bool:
    """Whether every task measured is one of M-BEIR's own."""
    return all(row.is_average or row.name in MBEIR_NAMES for row in rows)


def _column(measure: str, model: str, encoder: str) -> int | None:
    """The place of a column; "LLaVA-E" is the paper's LLaVa-E, "NV-Embed" its NV-Embed-v1."""
    wanted = _plain(f"{model} {encoder}")
    columns = [_plain(column) for column in _tables()[TABLE_OF[measure]]["columns"]]
    return columns.index(wanted) if wanted in columns else None


def _plain(column: str) -> str:
    return column.strip().lower().removesuffix("-v1")


def _rows_beside(row: Measured) -> list[str]:
    if row.is_average or row.name in MBEIR_NAMES:
        return [row.name]
    return [task.name for task in MBEIR_TASKS if row.task and task.paper_id == row.task.paper_id]


@cache
def _tables() -> dict[str, Any]:
    return read_json(FIGURES)
