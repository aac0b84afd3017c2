"""Panels as geometry for inline SVG, and as one PNG. The page's style sheet gives lines their colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lit_mmembed.evaluation.report.curves import Panel
from lit_mmembed.files import atomic_file

WIDTH, HEIGHT = 340, 210
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 8, 26
COLOURS = ("#2f6db3", "#8a7a2c", "#c2412d", "#2b8a6b", "#7d5ba6")
DASHES = ("-", "--", "-", "-.", ":")
DPI = 110


class Tick(NamedTuple):
    """A gridline: where, and its number."""

    place: float
    label: str


class DrawnCurve(NamedTuple):
    """A line and its band as SVG points."""

    model: str
    style: int
    """Which colour and dash."""
    line: str
    band: str
    last: str
    """The last value, for those who do not see the picture."""


@dataclass(frozen=True)
class Drawing:
    """A panel ready for the template."""

    measure: str
    group: str
    across: Sequence[Tick]
    up: Sequence[Tick]
    curves: Sequence[DrawnCurve]


def drawings_of(panels: Sequence[Panel], styles: Mapping[str, int]) -> list[tuple[str, list[Drawing]]]:
    """Lay panels out by group; those of one measure share their axes, so that groups can be compared."""
    groups: dict[str, list[Drawing]] = {}
    for panel in panels:
        alike = [other for other in panels if other.measure == panel.measure]
        groups.setdefault(panel.group, []).append(_drawing(panel, alike, styles))
    return list(groups.items())


def write_png(path: Path, panels: Sequence[Panel], styles: Mapping[str, int]) -> None:
    """Draw all panels into one PNG, for Markdown: a row per measure, a column per group."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups = list(dict.fromkeys(panel.group for panel in panels))
    measures = list(dict.fromkeys(panel.measure for panel in panels))
    figure = Figure(figsize=(4.6 * len(groups), 2.6 * len(measures)), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(measures), len(groups), squeeze=False, sharey="row")
    for panel in panels:
        axis = axes[measures.index(panel.measure), groups.index(panel.group)]
        axis.set_title(", ".join(filter(None, (panel.measure, panel.group))), fontsize=9)
        for curve in panel.curves:
            style = styles[curve.model] % len(COLOURS)
            axis.plot(
                curve.steps, curve.mean, color=COLOURS[style], linestyle=DASHES[style], label=curve.model, linewidth=1.4
            )
            axis.fill_between(curve.steps, curve.low, curve.high, color=COLOURS[style], alpha=0.18, linewidth=0)
        axis.tick_params(labelsize=8)
        axis.legend(fontsize=7, frameon=False)
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None})


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers that cover a range: the first is at or below `low`, the last at or above `high`."""
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    return [round(place * size, 12) for place in range(first, last + 1)]


def _drawing(panel: Panel, alike: Sequence[Panel], styles: Mapping[str, int]) -> Drawing:
    curves = [curve for other in alike for curve in other.curves]
    rows = ticks(min(min(curve.low) for curve in curves), max(max(curve.high) for curve in curves))
    furthest = max(max(curve.steps) for curve in curves)
    columns = [step for step in ticks(0, furthest) if step <= furthest]

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / furthest

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - rows[0]) / (rows[-1] - rows[0])

    def points(steps: Sequence[float], values: Sequence[float]) -> list[str]:
        return [f"{x(step):.1f},{y(value):.1f}" for step, value in zip(steps, values, strict=True)]

    drawn = []
    for curve in panel.curves:
        band = points(curve.steps, curve.high) + points(curve.steps, curve.low)[::-1] if curve.seeds > 1 else []
        line = " ".join(points(curve.steps, curve.mean))
        style = styles[curve.model] % len(COLOURS)
        drawn.append(DrawnCurve(curve.model, style, line, " ".join(band), f"{curve.mean[-1]:.3g}"))
    return Drawing(
        panel.measure,
        panel.group,
        [Tick(round(x(step), 1), f"{step:g}") for step in columns],
        [Tick(round(y(value), 1), f"{value:g}") for value in rows],
        drawn,
    )
