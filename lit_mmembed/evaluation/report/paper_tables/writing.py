"""The files: the page, its Markdown twin, and a tidy list of cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lit_mmembed.evaluation.report.paper_tables import text
from lit_mmembed.evaluation.report.paper_tables.content import Content
from lit_mmembed.evaluation.report.paper_tables.layout import PaperTable
from lit_mmembed.evaluation.report.table import Cell, Line, Table, markdown
from lit_mmembed.evaluation.report.writing import write_template
from lit_mmembed.files import atomic_file
from lit_mmembed.files import write_json as write_json_file
from lit_mmembed.record import run_record

TEMPLATE = Path(__file__).with_name("page.html")
DIGITS = 4


def write_page(path: Path, content: Content) -> Path:
    """Render the page: one file that asks for nothing else."""
    return write_template(path, TEMPLATE, content=content, text=text)


def write_markdown(path: Path, content: Content) -> None:
    """Write the tables in Markdown."""
    parts = [f"# The paper's tables from {', '.join(content.runs)}", f"Paper: {content.source}"]
    for table in content.tables:
        parts += [markdown(_plain(one)) for one in (table, *table.blocks) if one.is_run]
        parts.append("\n".join(f"- {origin.what}: {origin.where}" for origin in content.origins[table.number]))
    for one in content.not_run:
        parts.append(f"## Table {one.number}: {one.title}")
        parts.append(f"{one.words[0].upper()}{one.words[1:]}.")
    parts += content.left_out
    parts += [
        f"## {name}\n\n" + "\n".join(f"- {key}: {value}" for key, value in facts) for name, facts in content.facts
    ]
    with atomic_file(path) as partial:
        partial.write_text("\n\n".join(part.strip("\n") for part in parts) + "\n", encoding="utf-8")


def write_json(path: Path, content: Content) -> None:
    """Write one object a cell, in percent, and what produced them."""
    found = {
        "source": content.source,
        "record": run_record(),
        "runs": {name: dict(facts) for name, facts in content.facts},
        "not_run": [one.number for one in content.not_run],
        "left_out": list(content.left_out),
        "cells": [cell for table in content.tables for one in (table, *table.blocks) for cell in _cells(one)],
    }
    write_json_file(path, found)


def _cells(table: PaperTable) -> Iterator[dict[str, Any]]:
    for line in table.lines:
        for column, cell in zip(table.columns, line.cells, strict=True):
            if cell.is_empty:
                continue
            ours = cell.ours
            yield {
                "table": table.number,
                "row": line.key,
                "column": column.key,
                "ours": _rounded(ours and ours.percent),
                "sd": _rounded(ours and ours.std),
                "seeds": sorted(ours.summary.values) if ours else [],
                "paper": _rounded(cell.paper),
                "paper_is": cell.stands_for or None,
                "difference": _rounded(cell.difference),
                "stages": list(ours.places) if ours else [],
            }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _plain(table: PaperTable) -> Table:
    """As a table of the ordinary report, for Markdown."""
    lines = [
        Line(line.label, line.detail, [Cell(text.joined(table, cell)) for cell in line.cells], line.is_average)
        for line in table.lines
    ]
    return Table(f"Table {table.number}: {table.title}", table.head, lines, [text.reading(table), *table.notes])
