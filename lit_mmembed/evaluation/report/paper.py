"""The paper's figures, from paper.yaml, and those that the ordinary report shows beside ours: Tables 1, 2, 5 and 6."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.evaluation.report.collect import System
from lit_mmembed.evaluation.report.summary import ACCURACY, HIT, Measured

FIGURES = Path(__file__).with_name("paper.yaml")
TABLE_OF = {HIT: "table1", ACCURACY: "table2"}
ACCURACY_AT_1 = "modality_accuracy@1"
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
        rows = _rows_of(self.measure)
        place = _column(self.measure, self.model, self.encoder)
        if place is None:
            return None
        values = [rows[name][place] for name in rows_beside(row) if name in rows]
        return sum(values) / len(values) if values else None


def figures_beside(systems: Sequence[System], measure: str) -> list[Figures]:
    """The paper's columns of the systems that it has, each once."""
    pairs = dict.fromkeys((system.model, encoder) for system in systems for encoder in (system.encoder, ""))
    return [Figures(*pair, measure) for pair in pairs if _column(measure, *pair) is not None]


def curriculum_figures(model: str) -> list[float | None]:
    """Table 6's two figures of a curriculum: M-BEIR's tasks 1 to 5, and BEIR."""
    row = paper_table(6)["rows"].get(model)
    return row["figures"] if row else [None, None]


def instruction_columns() -> list[str]:
    """The columns of Table 5."""
    columns: list[str] = paper_table(5)["columns"]
    return columns


def instruction_figures(row: Measured) -> list[float | None]:
    """Table 5's figures of a row, or their means over the paper's rows of the same task number."""
    known = paper_table(5)["rows"]
    rows = [known[name] for name in rows_beside(row) if name in known]
    if not rows:
        return [None for _ in instruction_columns()]
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def is_mbeir(rows: Sequence[Measured]) -> bool:
    """Whether every task measured is one of M-BEIR's own."""
    return all(row.is_average or row.name in MBEIR_NAMES for row in rows)


def rows_beside(row: Measured) -> list[str]:
    """The paper's rows whose figures stand beside a row: its own, or all of the same task number."""
    if row.is_average or row.name in MBEIR_NAMES:
        return [row.name]
    return [task.name for task in MBEIR_TASKS if row.task and task.paper_id == row.task.paper_id]


def paper_table(number: int) -> dict[str, Any]:
    """A table of the paper as paper.yaml has it."""
    return _tables()[f"table{number}"]


def paper_source() -> str:
    """The paper's title and authors."""
    return str(_tables()["source"])


def place_of(columns: Sequence[str], name: str) -> int | None:
    """The place of a system among columns or rows of the paper, whose NV-Embed-v1 is our NV-Embed."""
    known = [plain(column) for column in columns]
    return known.index(plain(name)) if plain(name) in known else None


def plain(name: str) -> str:
    """A system's name without what is written in several ways."""
    return name.strip().lower().removesuffix("-v1")


def _column(measure: str, model: str, encoder: str) -> int | None:
    """The place of a column."""
    return place_of(_tables()[TABLE_OF[measure]]["columns"], f"{model} {encoder}")


def _rows_of(measure: str) -> dict[str, list[float]]:
    rows = _tables()[TABLE_OF[measure]]["rows"]
    return {name: row[ACCURACY_AT_1] for name, row in rows.items()} if measure == ACCURACY else rows


@cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = yaml.safe_load(FIGURES.read_text(encoding="utf-8"))
    return tables
