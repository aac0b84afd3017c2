"""A table of the paper with our numbers in it, before it takes a form. Numbers are in percent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lit_mmembed.evaluation.report.paper_tables.sources import Ours
from lit_mmembed.evaluation.report.table import Head

MINUS = "−"


class PaperCell(NamedTuple):
    """Our number beside the paper's."""

    ours: Ours | None
    paper: float | None = None
    stands_for: str = ""
    """What the paper's figure is where it is not of the same row; empty where it is, and may be subtracted."""

    @property
    def is_empty(self) -> bool:
        """Whether neither we nor the paper have a number."""
        return self.ours is None and self.paper is None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's; None where one lacks or they are of different benchmarks."""
        if self.ours is None or self.paper is None or self.stands_for:
            return None
        return self.ours.percent - self.paper


def marked_alike(cells: Sequence[PaperCell]) -> list[PaperCell]:
    """Cells of one set of documents: what the paper's figure stands for in one, it stands for in all."""
    stands_for = next((cell.stands_for for cell in cells if cell.stands_for), "")
    return [cell._replace(stands_for=stands_for if cell.paper is not None else "") for cell in cells]


class PaperColumn(NamedTuple):
    """A column of a table: neighbours of one group stand under one heading."""

    group: str
    label: str

    @property
    def key(self) -> str:
        """Its name in paper.json."""
        return f"{self.group} {self.label}".strip()


class PaperLine(NamedTuple):
    """A row of a table."""

    key: str
    """Its name in paper.json: a task, an average, a system."""
    label: str
    detail: str
    cells: Sequence[PaperCell]
    is_average: bool = False


@dataclass(frozen=True)
class PaperTable:
    """A table in the paper's layout."""

    number: int
    title: str
    what: str
    columns: Sequence[PaperColumn]
    lines: Sequence[PaperLine]
    notes: Sequence[str] = ()
    corner: str = ""
    """What the rows are."""
    is_of_differences: bool = False
    """Whether its numbers are differences between columns of the table before: they are shown with their sign."""
    blocks: Sequence[PaperTable] = field(default=())
    """Smaller tables that belong to it."""

    @property
    def cells(self) -> list[PaperCell]:
        """All cells, row by row."""
        return [cell for line in self.lines for cell in line.cells]

    @property
    def is_run(self) -> bool:
        """Whether any number of it is ours."""
        return any(cell.ours for cell in self.cells)

    @property
    def stands_beside(self) -> bool:
        """Whether figures of the paper are of another benchmark than ours."""
        return any(cell.ours and cell.paper is not None and cell.stands_for for cell in self.cells)

    @property
    def head(self) -> list[Head]:
        """The headings of its columns."""
        return [Head(column.group, column.label) for column in self.columns]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings over several columns, and how many columns each spans."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans

    def ours_text(self, cell: PaperCell) -> str:
        """Our number as it is shown; empty where there is none."""
        if cell.ours is None:
            return ""
        return signed(cell.ours.percent) if self.is_of_differences else f"{cell.ours.percent:.1f}"

    def paper_text(self, cell: PaperCell) -> str:
        """The paper's as it is shown, with ≈ where it is of another benchmark."""
        if cell.paper is None:
            return ""
        number = signed(cell.paper) if self.is_of_differences else f"{cell.paper:.1f}"
        return f"≈ {number}" if cell.stands_for else number

    def parts(self, cell: PaperCell) -> tuple[str, str, str, str]:
        """A cell as texts: ours, its spread, the paper's, the difference."""
        spread = "" if cell.ours is None or cell.ours.std is None else f"± {cell.ours.std:.1f}"
        gap = "" if cell.difference is None or self.is_of_differences else signed(cell.difference)
        return self.ours_text(cell), spread, self.paper_text(cell), gap


def signed(points: float) -> str:
    """A difference with its sign."""
    text = f"{points:+.1f}".replace("-", MINUS)
    return "0.0" if text[1:] == "0.0" else text
