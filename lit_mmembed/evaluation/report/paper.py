"""The paper's figures beside ours: Table 1 (retrieval) and Table 2 (modality accuracy on MSCOCO)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.evaluation.report.summary import ACCURACY, HIT, Measured
from lit_mmembed.files import read_json

FIGURES = Path(__file__).with_name("paper.json")
TABLE_OF = {HIT: "table1", ACCURACY: "table2"}
MBEIR_NAMES = frozenset(task.name for task in MBEIR_TASKS)


def paper_column(model: str, encoder: str) -> str | None:
    """The paper's column of a model, or None."""
    columns = _figures()["table1"]["columns"]
    for name in (f"{model} {encoder}", model):
        if name in columns:
            return name
    return None


def paper_value(measure: str, row: Measured, column: str) -> float | None:
    """The paper's figure for a row, in percent.

    An M-BEIR row has its own figure. A row of another benchmark has the mean over the paper's rows of the same task
    number, which says only what the paper saw on this kind of task.
    """
    table = _figures()[TABLE_OF[measure]]
    if column not in table["columns"]:
        return None
    place = table["columns"].index(column)
    values = [table["rows"][name][place] for name in _rows_beside(row) if name in table["rows"]]
    return sum(values) / len(values) if values else None


def is_mbeir(rows: list[Measured]) -> bool:
    """Whether every task measured is one of M-BEIR's own."""
    return all(row.is_average or row.name in MBEIR_NAMES for row in rows)


def _rows_beside(row: Measured) -> list[str]:
    if row.is_average or row.name in MBEIR_NAMES:
        return [row.name]
    return [task.name for task in MBEIR_TASKS if row.task and task.paper_id == row.task.paper_id]


@cache
def _figures() -> dict[str, Any]:
    return read_json(FIGURES)
