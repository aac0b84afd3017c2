"""The tables as text: for a terminal, and the sentences that all forms share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from textwrap import fill

from lit_mmembed.evaluation.report.paper_tables.content import Content
from lit_mmembed.evaluation.report.paper_tables.layout import PaperCell, PaperTable

NARROWEST = 120
"""Characters of a line, at least."""
GAP = "  "


def text_of(content: Content) -> str:
    """All tables for a terminal; a table wider than it goes on below, a few columns at a time."""
    width = max(NARROWEST, shutil.get_terminal_size((NARROWEST, 24)).columns)
    parts = []
    for table in content.tables:
        parts += [f"Table {table.number}: {table.title}", _filled(reading(table), width)]
        for one in (table, *table.blocks):
            if one.is_run:
                parts += [] if one is table else [f"{one.title}. {one.what}"]
                parts += _blocks(one, width)
        parts += [_filled(note, width) for note in table.notes]
        parts += [f"{origin.what}: {origin.where}" for origin in content.origins[table.number]]
        parts.append("")
    for missing in content.not_run:
        parts.append(f"Table {missing.number}: {missing.words}")
    parts += content.left_out
    return "\n".join(parts)


def reading(table: PaperTable) -> str:
    """What the numbers are and how a cell is read."""
    return f"{table.what} {seeds_of(table)} {cell_words(table)}"


def cell_words(table: PaperTable) -> str:
    """How a cell is read."""
    compared = any(cell.difference is not None for cell in table.cells)
    return f"A cell: ours / the paper's{' / the difference' if compared else ''}; (the paper's) where ours was not run."


def seeds_of(table: PaperTable) -> str:
    """Over how many seeds the numbers are means."""
    counts = sorted({cell.ours.summary.n for cell in table.cells if cell.ours})
    if not counts or counts[-1] == 1:
        return "One seed."
    several = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[-1])
    return f"Mean ± standard deviation over {several} seeds."


def joined(table: PaperTable, cell: PaperCell) -> str:
    """A cell in one line: "41.1 ± 0.4 / 42.7 / −1.6"; a number of the paper alone stands in brackets."""
    ours, spread, paper, gap = table.parts(cell)
    if not ours:
        return f"({paper})" if paper else ""
    return " / ".join(filter(None, (f"{ours} {spread}".strip(), paper, gap)))


def _blocks(table: PaperTable, width: int) -> Iterator[str]:
    labels = ["", "", *(f"{line.label} {line.detail}".strip() for line in table.lines)]
    shown = [_cells(table, place) for place in range(len(table.columns))]
    first = max(map(len, labels))
    block: list[Sequence[str]] = []
    for column in shown:
        used = first + sum(len(GAP) + _width(other) for other in block)
        if block and used + len(GAP) + _width(column) > width:
            yield _aligned(labels, block)
            block = []
        block.append(column)
    yield _aligned(labels, block)


def _cells(table: PaperTable, place: int) -> list[str]:
    column = table.columns[place]
    return [column.group, column.label, *(joined(table, line.cells[place]) for line in table.lines)]


def _aligned(labels: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
    first = max(map(len, labels))
    lines = [
        GAP.join([label.ljust(first), *(column[n].rjust(_width(column)) for column in columns)]).rstrip()
        for n, label in enumerate(labels)
    ]
    return "\n".join([*(line for line in lines if line), ""])


def _width(column: Sequence[str]) -> int:
    return max(map(len, column))


def _filled(words: str, width: int) -> str:
    return fill(words, width, break_on_hyphens=False)
