"""Differences as a dot plot: geometry for inline SVG, one figure a measure, one row a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lit_mmembed.evaluation.comparison.measuring import Difference
from lit_mmembed.evaluation.report.drawing import Tick, ticks

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 420, 118, 14, 6, 26
ROW, PER_PAIR = 14, 12
"""Height of a row without its dots, and of each pair's dot."""


class Dot(NamedTuple):
    """One difference with its interval."""

    pair: int
    x: float
    y: float
    low: float
    high: float
    seeds: Sequence[float]
    """x of each paired seed's own difference."""
    is_significant: bool
    words: str


class Row(NamedTuple):
    """A task or an average."""

    label: str
    y: float
    is_average: bool


@dataclass(frozen=True)
class Figure:
    """A measure, ready for the template."""

    title: str
    height: int
    zero: float
    across: Sequence[Tick]
    rows: Sequence[Row]
    dots: Sequence[Dot]


def figure_of(title: str, labels: Sequence[str], pairs: Sequence[Sequence[Difference]]) -> Figure:
    """Lay out the differences of one measure: labels of the rows, and the rows of each pair of systems."""
    everything = [row for rows in pairs for row in rows]
    points = [100 * value for row in everything for value in (row.low, row.high, *row.by_seed)]
    steps = ticks(min(0.0, *points), max(0.0, *points), about=5)

    def x(points: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (points - steps[0]) / (steps[-1] - steps[0]), 1)

    size = ROW + PER_PAIR * len(pairs)
    rows = [Row(label, TOP + size * (at + 0.5), pairs[0][at].task is None) for at, label in enumerate(labels)]
    dots = [
        Dot(
            place,
            x(100 * row.difference),
            round(rows[at].y + PER_PAIR * (place - (len(pairs) - 1) / 2), 1),
            x(100 * row.low),
            x(100 * row.high),
            [x(100 * value) for value in row.by_seed] if len(row.by_seed) > 1 else [],
            row.is_significant,
            f"{labels[at]}: {100 * row.difference:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}]",
        )
        for place, members in enumerate(pairs)
        for at, row in enumerate(members)
    ]
    across = [Tick(x(step), f"{step:+g}".replace("-", "−") if step else "0") for step in steps]
    return Figure(title, TOP + size * len(labels) + BOTTOM, x(0.0), across, rows, dots)
