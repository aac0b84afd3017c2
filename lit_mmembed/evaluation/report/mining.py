"""What mining found, per task: a table of each mining's `statistics.json`, averaged over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.report.collect import Run, Stage, System
from lit_mmembed.evaluation.report.summary import Measured, Summary
from lit_mmembed.evaluation.report.table import NONE, Cell, Head, Line, Table
from lit_mmembed.evaluation.report.tables import column_label, percent, task_line
from lit_mmembed.files import read_json

STATISTICS_FILE = "statistics.json"
NOTE = (
    "Wrong modality (C1 of section 4.1.1): ranked above the positive, with another modality than the one asked for. "
    "Unsatisfying (C2): of the modality asked for, ranked below k′. Both as the share of queries that have such a "
    "negative, percent. In depth: share of queries with a positive among the documents mined from. Possible false "
    "negatives: share of negatives whose text or image equals a positive's."
)


def _number(summary: Summary | None) -> Cell:
    return Cell(NONE) if summary is None else Cell(f"{summary.mean:.1f}")


def _count(summary: Summary | None) -> Cell:
    return Cell(NONE) if summary is None else Cell(f"{summary.mean:,.0f}")


COLUMNS: dict[str, tuple[Head, Callable[[Summary | None], Cell]]] = {
    "queries": (Head("", "queries"), _count),
    "with_wrong_modality": (Head("queries with a negative", "wrong modality"), percent),
    "with_unsatisfying": (Head("queries with a negative", "unsatisfying"), percent),
    "with_positive_aware": (Head("queries with a negative", "positive-aware"), percent),
    "with_random": (Head("queries with a negative", "random"), percent),
    "with_either": (Head("queries with a negative", "any"), percent),
    "negatives_per_query": (Head("", "negatives per query"), _number),
    "positive_in_depth": (Head("best positive", "in depth"), percent),
    "median_positive_rank": (Head("best positive", "median rank"), _number),
    "positive_aware_without_positive": (Head("positive-aware: queries", "without a positive"), percent),
    "positive_aware_without_survivor": (Head("positive-aware: queries", "without a negative left"), percent),
    "possible_false_negatives": (Head("", "possible false negatives"), percent),
}


def mining_tables(run: Run, rows: Sequence[Measured]) -> list[Table]:
    """One table per system that was mined with, and per random control; none without statistics."""
    found: dict[System, dict[int, Mapping[str, Any]]] = {}
    for stage in run.stages:
        path = statistics_path(run, stage)
        if path is not None:
            found.setdefault(stage.system, {})[stage.seed] = read_statistics(path)
    systems = list(found)
    tables = [_table(column_label(systems, system), seeds, rows) for system, seeds in found.items()]
    return [replace(table, notes=(*table.notes, *([NOTE] if table is tables[-1] else []))) for table in tables]


def statistics_path(run: Run, stage: Stage) -> Path | None:
    """Where a stage's statistics lie: in its folder, or where `mine --statistics` wrote them."""
    given = stage.arguments.get("statistics")
    paths = [stage.folder / STATISTICS_FILE, *([run.locate(str(given))] if given else [])]
    return next((path for path in paths if path.exists()), None)


def read_statistics(path: Path) -> Mapping[str, Any]:
    """Task -> its numbers; InputError when the file holds no mining statistics."""
    content = read_json(path)
    tasks = content.get("tasks") if isinstance(content, Mapping) else None
    if not isinstance(tasks, Mapping):
        raise InputError("holds no mining statistics: `tasks` is missing", file=path, fix="mine again")
    return tasks


def _table(head: Head, seeds: Mapping[int, Mapping[str, Any]], rows: Sequence[Measured]) -> Table:
    known = {row.name: row for row in rows}
    names = [row.name for row in rows if any(row.name in tasks for tasks in seeds.values())]
    names += sorted({name for tasks in seeds.values() for name in tasks} - set(names))
    columns = {
        key: column
        for key, column in COLUMNS.items()
        if any(key in row for tasks in seeds.values() for row in tasks.values())
    }
    lines = []
    for name in names:
        cells = [show(_summary(seeds, name, key)) for key, (_, show) in columns.items()]
        lines.append(task_line(known[name], cells) if name in known else Line(name, "", cells))
    group = f", {head.group}" if head.group else ""
    notes = [f"Mean ± standard deviation over {len(seeds)} seeds."] if len(seeds) > 1 else []
    return Table(f"Negatives: {head.label}{group}", [heading for heading, _ in columns.values()], lines, notes)


def _summary(seeds: Mapping[int, Mapping[str, Any]], task: str, key: str) -> Summary | None:
    values = {seed: tasks.get(task, {}).get(key) for seed, tasks in seeds.items()}
    known = {seed: float(value) for seed, value in values.items() if value is not None}
    return Summary(known) if known else None
