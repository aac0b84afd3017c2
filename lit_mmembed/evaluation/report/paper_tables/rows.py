"""Rows of tasks: M-BEIR's 16, or another benchmark's own with the paper's means of the same task number beside them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from lit_mmembed.data.tasks import MBEIR_TASKS, PUBLISHED_COUNTS
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.report.paper import MBEIR_NAMES, rows_beside
from lit_mmembed.evaluation.report.paper_tables.layout import PaperCell, PaperLine
from lit_mmembed.evaluation.report.paper_tables.sources import Found, Ours, Placed
from lit_mmembed.evaluation.report.summary import AVERAGES, Measured, measured_rows
from lit_mmembed.evaluation.report.tables import task_line
from lit_mmembed.types import Task

OTHER_BENCHMARK = (
    "These are not M-BEIR's tasks. ≈ marks what the paper has for its own rows of the same task number (a mean, where "
    "they are several). A difference between two benchmarks says nothing about a reproduction and is not shown."
)


class Rows(NamedTuple):
    """The rows of tasks that a table shows."""

    rows: tuple[Measured, ...]
    are_mbeir: bool


def rows_of(placed: Iterable[Placed], paper_ids: Collection[int] | None = None) -> Rows:
    """M-BEIR's rows where its tasks were measured, else the benchmark's own by the paper's task number.

    Args:
        placed: What the table shows.
        paper_ids: The task numbers of the table; all without them.

    Raises:
        InputError: evaluations are of M-BEIR and of another benchmark; names a stage of each.
    """
    found = list(placed)
    _check_one_benchmark(found)
    measured: dict[str, Measured] = {}
    for run in {id(one.run): one.run for one in found}.values():
        evaluations = tuple(one.evaluation for one in found if one.run is run)
        for row in measured_rows(replace(run, evaluations=evaluations)):
            measured.setdefault(row.name, row)
    own = [row for row in measured.values() if not row.is_average]
    are_mbeir = all(row.name in MBEIR_NAMES for row in own)
    if are_mbeir:
        own = [measured.get(task.name) or Measured(task.name, task.dataset, 0, task) for task in MBEIR_TASKS]
    kept = [row for row in own if paper_ids is None or (row.task and row.task.paper_id in paper_ids)]
    kept.sort(key=lambda row: row.task.paper_id if row.task else 99)
    return Rows(tuple(kept), are_mbeir)


def beside(row: Measured, figures: Mapping[str, Sequence[float]], place: int) -> tuple[float | None, str]:
    """The paper's figure for a task and, where it is not of the same row, what it is of."""
    names = [name for name in rows_beside(row) if name in figures]
    if not names:
        return None, ""
    mean = sum(figures[name][place] for name in names) / len(names)
    if names == [row.name]:
        return mean, ""
    return mean, f"{'mean of ' if len(names) > 1 else ''}{', '.join(names)}"


def average_cell(found: Found, rows: Rows, name: str, *, paper: float | None, ours: Ours | None) -> PaperCell:
    """One of the paper's averages: over all of its rows, or none of ours."""
    if not rows.are_mbeir:
        return PaperCell(ours, paper, f"{name} of M-BEIR" if paper is not None else "")
    wanted = [task.name for task in MBEIR_TASKS if _is_in(task, name)]
    whole = all(any(row in one.tasks for one in several) for several in found.by_seed.values() for row in wanted)
    return PaperCell(ours if whole else None, paper)


def line_of(row: Measured, cells: Sequence[PaperCell]) -> PaperLine:
    """A row under its task's number and what is asked for with what."""
    line = task_line(row, ())
    return PaperLine(row.name, line.label, line.detail, cells)


def average_line(name: str, cells: Sequence[PaperCell]) -> PaperLine:
    """A row of one of the paper's averages."""
    label, detail = AVERAGES[name]
    return PaperLine(name, label, detail, cells, is_average=True)


def notes_of(rows: Rows) -> list[str]:
    """What has to be said of rows of another benchmark."""
    return [] if rows.are_mbeir else [OTHER_BENCHMARK]


def short_of(rows: Rows) -> list[str]:
    """Rows of M-BEIR's test split with other numbers of queries than published: they are not the benchmark's."""
    other = [
        f"{row.name} ({row.n:,} of {PUBLISHED_COUNTS[row.name].queries:,})"
        for row in rows.rows
        if rows.are_mbeir and row.n and row.n != PUBLISHED_COUNTS[row.name].queries
    ]
    return [f"Queries of the published test split that were asked: {', '.join(other)}."] if other else []


def _is_in(task: Task, average: str) -> bool:
    if average == "avg_all":
        return True
    return (task.paper_id <= 5) == (average == "avg_single_modal")


def _check_one_benchmark(found: Sequence[Placed]) -> None:
    of_mbeir = [one for one in found if one.tasks & MBEIR_NAMES]
    of_another = [one for one in found if one.tasks - MBEIR_NAMES]
    if of_mbeir and of_another:
        first, second = of_mbeir[0].evaluation.stage.folder, of_another[0].evaluation.stage.folder
        raise InputError(
            f"is on another benchmark than {first}, which is on M-BEIR: a table has one",
            file=second,
            fix="name the run folders of one benchmark",
        )
