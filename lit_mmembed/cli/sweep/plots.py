"""Plots of a sweep, as PNG files."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_mmembed.cli.sweep.definition import SweepFile, last_part
from lit_mmembed.cli.sweep.trials import Trial
from lit_mmembed.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lit_mmembed.cli.sweep.summary import Setting

COLUMNS = 3
MANY = 10.0
"""A numeric axis whose largest value is this many times its smallest is logarithmic."""
WIDTH = 18
"""Characters on a line below an axis."""
COLOUR = "#2a6f97"


def best_so_far(path: Path, sweep: SweepFile, trials: Sequence[Trial]) -> None:
    """Draw every finished trial in the order of its number, and the best up to it."""
    done = [(trial.number, trial.metric) for trial in trials if trial.metric is not None]
    better = max if sweep.maximizes else min
    best: list[float] = []
    for _, value in done:
        best.append(better(best[-1], value) if best else value)
    figure, axes = _figure(6.0, 3.6)
    axes.plot([number for number, _ in done], [value for _, value in done], "o", color=COLOUR, label="trial")
    axes.step([number for number, _ in done], best, where="post", color="#c1666b", label="best so far")
    axes.set(xlabel="trial", ylabel=sweep.metric)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    _save(figure, path)


def metric_by_parameter(path: Path, sweep: SweepFile, found: Sequence[Setting], names: Sequence[str]) -> None:
    """Draw one panel per parameter: the mean of each setting with its standard deviation over seeds.

    Settings that differ only in the panel's parameter are joined by a line, where there are few enough to tell apart.
    """
    rows = math.ceil(len(names) / COLUMNS)
    width = min(len(names), COLUMNS)
    figure, grid = _figure(4.2 * width, 3.6 * rows, rows, width)
    panels = [panel for row in _rows(grid) for panel in row]
    for panel, name in zip(panels, names, strict=False):
        _panel(panel, found, name, [other for other in names if other != name])
        panel.set(xlabel=last_part(name), ylabel=sweep.metric)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    _save(figure, path)


def _panel(panel: Axes, found: Sequence[Setting], name: str, others: Sequence[str]) -> None:
    values = [setting.parameters.get(name) for setting in found]
    place = _places(panel, values)
    groups: dict[str, list[Setting]] = {}
    for setting in found:
        key = ", ".join(f"{last_part(other)}={_short(setting.parameters.get(other))}" for other in others)
        groups.setdefault(key, []).append(setting)
    joined = max(len(group) for group in groups.values()) > 1 and len(groups) <= 8
    for key, group in sorted(groups.items()):
        ordered = sorted(group, key=lambda setting: place(setting.parameters.get(name)))
        points = [place(setting.parameters.get(name)) for setting in ordered]
        style: dict[str, Any] = {"marker": "o", "linestyle": "-"} if joined else {"marker": "o", "linestyle": ""}
        deviations = [setting.deviation for setting in ordered]
        if any(deviations):
            style |= {"yerr": deviations, "capsize": 3}
        colour = None if joined and len(groups) > 1 else COLOUR
        panel.errorbar(points, [s.mean for s in ordered], color=colour, alpha=0.85, label=key or None, **style)
    if joined and len(groups) > 1:
        panel.legend(frameon=False, fontsize=7)


def parallel_coordinates(path: Path, sweep: SweepFile, found: Sequence[Setting], names: Sequence[str]) -> None:
    """Draw one line per setting through all parameters to the metric, coloured by it; the best are drawn last."""
    import matplotlib as mpl
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    means = [setting.mean for setting in found]
    scale = Normalize(min(means), max(means) if max(means) > min(means) else min(means) + 1e-9)
    colours = mpl.colormaps["viridis" if sweep.maximizes else "viridis_r"]
    figure, axes = _figure(2.2 * (len(names) + 1), 4.2)
    heights = [_heights([setting.parameters.get(name) for setting in found]) for name in names]
    ends = [_heights(means)]
    for row in reversed(range(len(found))):
        line = [column[0][row] for column in [*heights, *ends]]
        axes.plot(range(len(line)), line, color=colours(scale(means[row])), alpha=0.8)
    for column, (_, ticks) in enumerate([*heights, *ends]):
        axes.axvline(column, color="#999999", linewidth=0.8)
        for height, label in ticks:
            box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1}
            axes.text(column + 0.03, height, label, fontsize=8, va="center", bbox=box)
    axes.set_xticks(range(len(names) + 1), [*(last_part(name) for name in names), sweep.metric])
    axes.set(yticks=[], xlim=(-0.1, len(names) + 0.35))
    axes.spines[:].set_visible(False)
    figure.colorbar(ScalarMappable(scale, colours), ax=axes, label=sweep.metric)
    _save(figure, path)


def _heights(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return each value's height from 0 to 1, and (height, label) of the axis' marks."""
    if all(_is_number(value) for value in values):
        low, high = min(values), max(values)
        logarithmic = _is_logarithmic(values)
        span = (math.log(high / low) if logarithmic else high - low) or 1.0
        height = [(math.log(value / low) if logarithmic else value - low) / span for value in values]
        pairs = dict(zip(values, height, strict=True))
        marked = sorted(pairs) if len(pairs) <= 6 else [low, high]
        return height, [(pairs[value], _short(value)) for value in marked]
    names = sorted({_short(value) for value in values})
    at = {name: index / max(1, len(names) - 1) for index, name in enumerate(names)}
    return [at[_short(value)] for value in values], [(height, name) for name, height in at.items()]


def _places(panel: Axes, values: Sequence[Any]) -> Any:
    """Prepare an axis for values; return the function from a value to its place."""
    if all(_is_number(value) for value in values):
        if _is_logarithmic(values):
            panel.set_xscale("log")
        distinct = sorted(set(values))
        if len(distinct) <= 6:
            panel.set_xticks(distinct, [_short(value) for value in distinct])
            panel.minorticks_off()
        return lambda value: value
    names = sorted({_short(value) for value in values})
    panel.set_xticks(range(len(names)), [textwrap.fill(name, WIDTH) for name in names])
    panel.margins(x=0.2)
    return lambda value: names.index(_short(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_logarithmic(values: Sequence[Any]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= MANY


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return last_part(value) if isinstance(value, str) else str(value)


def _rows(grid: Any) -> list[list[Axes]]:
    import numpy as np

    return np.atleast_2d(grid).tolist()


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns)


def _save(figure: Figure, path: Path) -> None:
    with atomic_file(path) as partial:
        figure.savefig(partial, format="png", dpi=130)
