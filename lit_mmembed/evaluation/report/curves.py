"""Training curves from the logs of `fit` stages: per measure one panel, per system one line with a band over seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.report.collect import Run, Stage, System
from lit_mmembed.evaluation.report.tables import column_label

LOG_FILE = "log.jsonl"
MEASURES = {
    "val/hit@5/mean": "validation hit@5, mean of tasks",
    "val/modality_accuracy@1/mean": "validation M.A.@1, mean of tasks",
    "train/loss": "training loss",
    "train/grad_norm": "gradient norm",
    "train/temperature": "temperature",
}
MOST_POINTS = 200
"""A longer curve is averaged in bins: more points than that cannot be seen."""

Points = Mapping[int, float]
"""Step -> value."""


@dataclass(frozen=True)
class Curve:
    """One system's line: mean over seeds, and the lowest and highest seed."""

    model: str
    seeds: int
    steps: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Panel:
    """The curves of one measure and one group of systems (such as those with instructions)."""

    measure: str
    group: str
    curves: Sequence[Curve]


def panels_of(run: Run) -> list[Panel]:
    """Read the logs; a measure or a system that was not logged is left out."""
    fits = [stage for stage in run.of_command("fit") if (stage.folder / LOG_FILE).exists()]
    logs = {stage.place: _read(stage) for stage in fits}
    systems = list(dict.fromkeys(stage.system for stage in fits))
    panels = []
    for group in dict.fromkeys(column_label(systems, system).group for system in systems):
        for key, measure in MEASURES.items():
            members = [system for system in systems if column_label(systems, system).group == group]
            curves = [
                _curve(system, [logs[s.place].get(key, {}) for s in fits if s.system == system]) for system in members
            ]
            drawn = [curve for curve in curves if curve is not None]
            if drawn:
                panels.append(Panel(measure, group, drawn))
    return panels


def read_log(path: Path) -> Iterator[tuple[int, Mapping[str, float | None]]]:
    """Yield the steps of a log, counted from 1, with what was logged at each; not finite numbers are None.

    Raises:
        InputError: a line is none of a log; names file and line.
    """
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            step = int(row.pop("step")) + 1
        except (ValueError, KeyError, TypeError, AttributeError) as broken:
            fix = "remove this stage's folder and run the recipe again"
            raise InputError(f"is not a line of a log: {broken}", file=path, record=f"line {number}", fix=fix) from None
        yield step, row


def _read(stage: Stage) -> dict[str, dict[int, float]]:
    """Name -> step -> value; numbers that were not finite are null in the log and left out."""
    series: dict[str, dict[int, float]] = {}
    for step, row in read_log(stage.folder / LOG_FILE):
        for name in MEASURES:
            value = row.get(name)
            if value is not None:
                series.setdefault(name, {})[step] = float(value)
    return series


def _curve(system: System, seeds: Sequence[Points]) -> Curve | None:
    """Average the seeds at the steps that all of them logged."""
    logged = [points for points in seeds if points]
    if not logged:
        return None
    steps = sorted(set.intersection(*(set(points) for points in logged)))
    if not steps:
        return None
    table = [[points[step] for points in logged] for step in steps]
    columns = (
        [float(step) for step in steps],
        [sum(row) / len(row) for row in table],
        [min(row) for row in table],
        [max(row) for row in table],
    )
    return Curve(system.model, len(logged), *(_binned(column) for column in columns))


def _binned(values: list[float]) -> list[float]:
    size = -(-len(values) // MOST_POINTS)
    bins = [values[start : start + size] for start in range(0, len(values), size)]
    return [sum(values) / len(values) for values in bins]
