"""A table as text, one form for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

NONE = "–"


class Cell(NamedTuple):
    """What a cell shows."""

    text: str
    detail: str = ""
    """The spread: "± 0.4" or "[41.2, 49.0]"."""
    mark: str = ""
    """"best" (of its row), "paper", "up", "down" or "": how the page draws it."""


class Head(NamedTuple):
    """A column's heading: neighbours of one group stand under one heading."""

    group: str
    label: str


class Line(NamedTuple):
    """A row."""

    label: str
    detail: str
    cells: Sequence[Cell]
    is_average: bool = False


@dataclass(frozen=True)
class Table:
    """A table of the report."""

    title: str
    head: Sequence[Head]
    lines: Sequence[Line]
    notes: Sequence[str] = field(default=())

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings over several columns, and how many columns each spans."""
        spans: list[tuple[str, int]] = []
        for head in self.head:
            if spans and spans[-1][0] == head.group:
                spans[-1] = (head.group, spans[-1][1] + 1)
            else:
                spans.append((head.group, 1))
        return spans


def markdown(table: Table) -> str:
    """The table in Markdown: groups become a part of each heading."""
    names = [_escaped(f"{head.group}: {head.label}" if head.group else head.label) for head in table.head]
    rows = [["", *names], ["---", *("---:" for _ in names)]]
    for line in table.lines:
        label = f"{_escaped(line.label)} ({_escaped(line.detail)})" if line.detail else _escaped(line.label)
        cells = [_escaped(" ".join(filter(None, (cell.text, cell.detail)))) for cell in line.cells]
        rows.append([f"**{label}**" if line.is_average else label, *cells])
    lines = [f"## {table.title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join([*lines, *(f"{note}\n" for note in table.notes)])


def _escaped(text: str) -> str:
    """Text that cannot end a cell or begin markup."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
