"""Everything the report says, gathered once for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lit_mmembed.evaluation.report.collect import Run
from lit_mmembed.evaluation.report.summary import measured_rows
from lit_mmembed.evaluation.report.table import Table
from lit_mmembed.evaluation.report.tables import difference_tables, score_tables


@dataclass(frozen=True)
class Content:
    """The report before it takes a form."""

    name: str
    scores: Sequence[Table]
    differences: Sequence[Table]


def content_of(run: Run) -> Content:
    """Gather the report of a run."""
    rows = measured_rows(run)
    return Content(run.name, score_tables(run, rows), difference_tables(run, rows))
