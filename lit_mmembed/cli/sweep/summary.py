"""What came of a sweep: `summary.md` and `summary.csv` after every trial, plots at the end."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from lit_mmembed.cli.sweep.definition import SweepFile, last_part, short, trial_arguments
from lit_mmembed.cli.sweep.trials import Trial
from lit_mmembed.files import atomic_file, read_json

SEEDS = ("seed", "seed_everything")
"""Parameters whose values are repetitions."""
SHOWN = 50
"""Rows of a table in summary.md; summary.csv has all."""


@dataclass(frozen=True)
class Setting:
    """The finished trials that differ in their seed alone."""

    parameters: dict[str, Any]
    values: tuple[float, ...]
    """Their metric."""

    @property
    def mean(self) -> float:
        """Over seeds."""
        return fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds (n - 1); 0 of a single one."""
        return stdev(self.values) if len(self.values) > 1 else 0.0


def varied(sweep: SweepFile, trials: Sequence[Trial]) -> list[str]:
    """Return the names of the parameters with more than one value, seeds aside, in the file's order."""
    constant = [name for name, entry in sweep.content["parameters"].items() if "value" in entry]
    return [name for name in _names(sweep, trials) if name not in constant and name not in SEEDS]


def settings(sweep: SweepFile, trials: Sequence[Trial]) -> list[Setting]:
    """Group the finished trials by everything but the seed, best mean first."""
    groups: dict[str, tuple[dict[str, Any], list[float]]] = {}
    for trial in trials:
        if trial.metric is not None:
            rest = {name: value for name, value in trial.parameters.items() if name not in SEEDS}
            groups.setdefault(json.dumps(rest, sort_keys=True), (rest, []))[1].append(trial.metric)
    found = [Setting(rest, tuple(values)) for rest, values in groups.values()]
    return sorted(found, key=lambda setting: setting.mean, reverse=sweep.maximizes)


def write_tables(folder: Path, sweep: SweepFile, trials: Sequence[Trial]) -> None:
    """Write `summary.csv` (a row per trial) and `summary.md` (the best settings, what failed, what produced it)."""
    names = _names(sweep, trials)
    with atomic_file(folder / "summary.csv") as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["trial", *names, sweep.metric, "state", "error"])
        for trial in trials:
            values = [trial.parameters.get(name) for name in names]
            writer.writerow([trial.number, *values, trial.metric, trial.state, trial.error])
    with atomic_file(folder / "summary.md") as partial:
        partial.write_text("\n".join(_page(folder, sweep, trials)) + "\n", encoding="utf-8")


def write_plots(folder: Path, sweep: SweepFile, trials: Sequence[Trial]) -> None:
    """Draw the metric against each parameter, the best so far, and parallel coordinates of three parameters or more."""
    found = settings(sweep, trials)
    if not found:
        return
    from lit_mmembed.cli.sweep.plots import best_so_far, metric_by_parameter, parallel_coordinates

    names = varied(sweep, trials)
    best_so_far(folder / "best_so_far.png", sweep, trials)
    if names:
        metric_by_parameter(folder / "metric_by_parameter.png", sweep, found, names)
    if len(names) > 2:
        parallel_coordinates(folder / "parallel_coordinates.png", sweep, found, names)


def _names(sweep: SweepFile, trials: Sequence[Trial]) -> list[str]:
    named = {name: None for trial in trials for name in trial.parameters}
    return [*(name for name in sweep.content["parameters"] if name in named)] or list(named)


def _page(folder: Path, sweep: SweepFile, trials: Sequence[Trial]) -> list[str]:
    found = settings(sweep, trials)
    states = [trial.state for trial in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("finished", "failed", "running"))
    record = read_json(folder / "sweep.json")
    lines = [
        f"# Sweep {sweep.path.stem}: {sweep.metric}, {sweep.goal}",
        "",
        f"{sweep.content['method']}: {counts}.",
        "",
    ]
    lines += _settings_table(sweep, found, varied(sweep, trials))
    finished = [trial for trial in trials if trial.metric is not None]
    if finished:
        best = sorted(finished, key=lambda trial: trial.metric or 0.0, reverse=sweep.maximizes)[0]
        command = trial_arguments(sweep, best.parameters, folder / "trials" / f"{best.number:03}")
        title = f"Best single trial: {best.number} ({short(best.parameters)}), {best.metric:.4g}"
        lines += ["", title, "```", f"mmembed {shlex.join(command)}", "```"]
    failed = [trial for trial in trials if trial.state == "failed"]
    if failed:
        lines += ["", "| failed trial | parameters | last line |", "|---|---|---|"]
        lines += [f"| {t.number} | {_cell(short(t.parameters))} | {_cell(t.error)} |" for t in failed]
    made = {"seed of the proposals": record["seed"], **record["record"]}
    lines += ["", "Made by: " + "; ".join(f"{name} {_cell(value)}" for name, value in made.items() if value)]
    return lines


def _settings_table(sweep: SweepFile, found: Sequence[Setting], names: Sequence[str]) -> list[str]:
    if not found:
        return ["No trial has finished."]
    seeds = max(len(setting.values) for setting in found)
    heading = [*(_cell(last_part(name)) for name in names), sweep.metric]
    heading += ["± over seeds", "seeds"] if seeds > 1 else []
    lines = [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
    for setting in found[:SHOWN]:
        cells = [_cell(_value(setting.parameters.get(name))) for name in names] + [f"{setting.mean:.4g}"]
        if seeds > 1:
            # One seed has no deviation; a zero would claim one.
            several = len(setting.values) > 1
            cells += [f"{setting.deviation:.2g}" if several else "", str(len(setting.values))]
        lines.append(f"| {' | '.join(cells)} |")
    if len(found) > SHOWN:
        lines.append(f"\n{len(found) - SHOWN} more in summary.csv.")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return last_part(value) if isinstance(value, str) else str(value)


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())
