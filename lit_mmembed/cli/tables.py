"""Scores on the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lit_mmembed.types import Score


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
