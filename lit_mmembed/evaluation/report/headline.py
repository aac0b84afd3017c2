"""What was run, in a sentence, and the few numbers that answer whether it worked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lit_mmembed.evaluation.report.collect import Run
from lit_mmembed.evaluation.report.differences import findings_of
from lit_mmembed.evaluation.report.summary import ACCURACY, HIT, Measured, summarize
from lit_mmembed.evaluation.report.table import Cell
from lit_mmembed.evaluation.report.tables import column_label, hit_name, percent

MEAN = "avg_all"


class Card(NamedTuple):
    """One system's means over all tasks."""

    model: str
    style: int
    hit: Cell
    accuracy: Cell


@dataclass(frozen=True)
class Headline:
    """The top of the report."""

    sentence: str
    hit_name: str
    groups: Sequence[tuple[str, Sequence[Card]]]
    """Cards by what tells systems apart besides the model."""
    findings: Sequence[str]


def headline_of(run: Run, rows: Sequence[Measured], styles: Mapping[str, int]) -> Headline:
    """Say what was run and what came out."""
    mean = MEAN if any(row.name == MEAN for row in rows) else rows[0].name
    groups: dict[str, list[Card]] = {}
    for system in run.systems:
        group, model = column_label(run.systems, system)
        hit, accuracy = (percent(summarize(run, system, "global", measure, mean)) for measure in (HIT, ACCURACY))
        groups.setdefault(group, []).append(Card(model, styles[model], hit, accuracy))
    name = hit_name(rows).partition(" ")[0]
    return Headline(_sentence(run, rows), name, list(groups.items()), findings_of(run, mean, name))


def _sentence(run: Run, rows: Sequence[Measured]) -> str:
    first = run.evaluations[0]
    encoders, models, asked = (
        _listed([getattr(system, name) for system in run.systems]) for name in ("encoder", "model", "instructions")
    )
    directory = run.data_of(first)
    tasks = [row for row in rows if not row.is_average]
    split = str(first.stage.arguments.get("split") or first.stage.labels.get("split", ""))
    counts = directory.manifest["counts"] if directory else {}
    sizes = [_counted(len(tasks), "task"), _counted(sum(row.n for row in tasks), "query", "queries")]
    sizes += [_counted(counts[f"candidates/{split}"], "document")] if f"candidates/{split}" in counts else []
    parts = [
        f"{f'{encoders} as ' if encoders else ''}{models}{f' on {directory.name}' if directory else ''}",
        f"{f'{split} split: ' if split else ''}{', '.join(sizes)}",
        _counted(len({evaluation.seed for evaluation in run.evaluations}), "seed"),
    ]
    return "; ".join(parts) + (f", {asked} instructions." if asked else ".")


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _listed(names: Sequence[str]) -> str:
    distinct = [name for name in dict.fromkeys(names) if name]
    return " and ".join(filter(None, (", ".join(distinct[:-1]), *distinct[-1:])))
