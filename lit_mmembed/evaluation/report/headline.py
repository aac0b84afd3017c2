"""What was run, in a sentence, and the few numbers that answer whether it worked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lit_mmembed.evaluation.report.collect import Run
from lit_mmembed.evaluation.report.summary import (
    ACCURACY,
    ENOUGH_SEEDS,
    HIT,
    Measured,
    Summary,
    compared_systems,
    difference,
    summarize,
)
from lit_mmembed.evaluation.report.table import Cell
from lit_mmembed.evaluation.report.tables import column_label, hit_name, percent, signed

MEAN = "avg_all"


class Card(NamedTuple):
    """One system's means over all tasks."""

    model: str
    group: str
    style: int
    hit: Cell
    accuracy: Cell


@dataclass(frozen=True)
class Headline:
    """The top of the report."""

    sentence: str
    hit_name: str
    cards: Sequence[Card]
    findings: Sequence[str]


def headline_of(run: Run, rows: Sequence[Measured], models: Sequence[str]) -> Headline:
    """Say what was run and what came out."""
    mean = MEAN if any(row.name == MEAN for row in rows) else rows[0].name
    cards = []
    for system in run.systems:
        group, model = column_label(run.systems, system)
        hit, accuracy = (summarize(run, system, "global", measure, mean) for measure in (HIT, ACCURACY))
        cards.append(Card(model, group, models.index(model), percent(hit), percent(accuracy)))
    findings = [_finding(run, pair, mean) for pair in compared_systems(run.systems)]
    return Headline(_sentence(run, rows), hit_name(rows), cards, [finding for finding in findings if finding])


def _sentence(run: Run, rows: Sequence[Measured]) -> str:
    first = run.evaluations[0]
    directory = run.data_of(first)
    encoders = _listed([system.encoder for system in run.systems])
    models = _listed([system.model for system in run.systems])
    tasks = [row for row in rows if not row.is_average]
    split = str(first.stage.arguments.get("split", "") or first.stage.labels.get("split", ""))
    sizes = [f"{len(tasks)} task{'s'[: len(tasks) > 1]}", f"{sum(row.n for row in tasks):,} queries"]
    if directory is not None and f"candidates/{split}" in directory.manifest["counts"]:
        sizes.append(f"{directory.manifest['counts'][f'candidates/{split}']:,} documents")
    where = f" on {directory.name}" if directory else ""
    seeds = sorted({evaluation.seed for evaluation in run.evaluations})
    asked = _listed([system.instructions for system in run.systems if system.instructions])
    words = [
        f"{encoders + ' as ' if encoders else ''}{models}{where}",
        f"{split} split: " * bool(split) + ", ".join(sizes),
        f"{len(seeds)} seed{'s'[: len(seeds) > 1]}" + (f", {asked} instructions" if asked else ""),
    ]
    return "; ".join(words) + "."


def _finding(run: Run, pair: tuple[str, object, object], task: str) -> str:
    """One difference in words; an honest one says over how many seeds, and how many of them agree."""
    what, a, b = pair
    found: dict[str, Summary] = {}
    for name, measure in (("hit@k", HIT), ("M.A.@1", ACCURACY)):
        gap = difference(*(summarize(run, system, "global", measure, task) for system in (a, b)))  # type: ignore[arg-type]
        if gap is not None:
            found[name] = gap
    if not found:
        return ""
    group = column_label(run.systems, a).group if "instructions" not in what else ""  # type: ignore[arg-type]
    parts = [f"{_words(gap)} points {name}" for name, gap in found.items()]
    n = min(gap.n for gap in found.values())
    seeds = f"over {n} paired seeds" if n > 1 else "on one seed"
    claim = "" if n >= ENOUGH_SEEDS else ": not enough seeds for a claim"
    return f"{what.replace('−', 'minus')}{', ' + group if group else ''}: {', '.join(parts)}, {seeds}{claim}."


def _words(gap: Summary) -> str:
    cell = signed(gap)
    text = " ".join(filter(None, (cell.text, cell.detail)))
    higher = sum(value > 0 for value in gap.values.values())
    return f"{text} (higher in {higher} of {gap.n})" if gap.n > 1 else text


def _listed(names: Sequence[str]) -> str:
    distinct = [name for name in dict.fromkeys(names) if name]
    return " and ".join(filter(None, (", ".join(distinct[:-1]), *distinct[-1:])))
