"""Scores on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lit_mmembed.types import Score

if TYPE_CHECKING:
    from lit_mmembed.evaluation.report.table import Table as ReportTable

WIDTH = 100


def print_scores(scores: Iterable[Score]) -> None:
    """Print one row per task and pool, one column per metric."""
    from rich.console import Console
    from rich.table import Table

    cells = {(score.task, score.pool): {} for score in scores}  # type: dict[tuple[str, str], dict[str, str]]
    columns: dict[str, None] = {}
    for score in scores:
        name = f"{score.metric}@{score.k}" if score.k else score.metric
        columns[name] = None
        interval = (
            f" [{100 * score.low:.1f}, {100 * score.high:.1f}]"
            if score.low is not None and score.high is not None
            else ""
        )
        cells[score.task, score.pool][name] = f"{100 * score.value:.1f}{interval}"
    table = Table("task", "pool", *columns)
    for (task, pool), row in cells.items():
        table.add_row(task, pool, *(row.get(name, "") for name in columns))
    Console(width=max(100, 14 * (len(columns) + 2))).print(table)


def print_comparison(rows: Iterable[Any]) -> None:
    """Print one row per task of a paired comparison."""
    from rich.console import Console
    from rich.table import Table

    table: Table | None = None
    for row in rows:
        fields = row._asdict() if hasattr(row, "_asdict") else vars(row) if hasattr(row, "__dict__") else dict(row)
        table = table or Table(*fields)
        table.add_row(*(f"{value:.4f}" if isinstance(value, float) else str(value) for value in fields.values()))
    if table is not None:
        Console(width=max(100, 14 * len(table.columns))).print(table)


def print_table(shown: ReportTable) -> None:
    """Print a table of a report or of a comparison under its title."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", title=Text(shown.title), title_justify="left")
    for head in shown.head:
        table.add_column(Text(" ".join(filter(None, (head.group, head.label)))), justify="right", no_wrap=True)
    for line in shown.lines:
        label = f"{line.label} ({line.detail})" if line.detail else line.label
        cells = (" ".join(filter(None, (cell.text, cell.detail))) for cell in line.cells)
        table.add_row(Text(label, style="bold" if line.is_average else ""), *(Text(cell) for cell in cells))
    Console(width=max(WIDTH, 40 + 26 * len(shown.head))).print(table)


def print_notes(lines: Iterable[str]) -> None:
    """Print sentences, broken where a line is full."""
    from textwrap import fill

    for line in lines:
        print(fill(line, WIDTH))
