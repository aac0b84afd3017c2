"""One look for all notebooks: colours that colour-blind readers tell apart, bars with spread, cards of documents."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lit_mmembed.results import Hit, Item
from runs import ROOT

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, GREY = "#CC79A7", "#56B4E9", "#7A7A7A"
MODALITY_COLOURS = {"text": BLUE, "image": ORANGE, "image,text": GREEN}
MODEL_COLOURS = {"M_rand": SKY, "control": GREY, "M_hard": RED}
HATCHES = ("", "//", "..", "xx")
TASKS = {
    **{"emoji_task0": "T1 text → image", "atlas_task1": "T2 text → text", "atlas_task2": "T3 text → image+text"},
    **{"emoji_task3": "T4 image → text", "emoji_task4": "T5 image → image", "atlas_task6": "T6 image+text → text"},
    **{"emoji_task7": "T7 image+text → image", "atlas_task8": "T8 image+text → image+text", "avg_all": "all tasks"},
}
MARKS = {"positive": GREEN, "wrong_modality": RED, "unsatisfying": PURPLE, "wrong": RED, "": "#c8c8c8"}
WORDS = {"wrong_modality": "wrong modality (C1)", "unsatisfying": "unsatisfying (C2)", "wrong": "wrong modality"}
FIGURES = ROOT / "docs" / "figures"
IS_HEADLESS = "MMEMBED_NOTEBOOKS" in os.environ
"""Executed by `make notebooks`, so nobody moves a slider."""

plt.rcParams.update(
    {
        **{"figure.dpi": 110, "savefig.dpi": 160, "savefig.bbox": "tight", "figure.constrained_layout.use": True},
        **{"font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left"},
        **{"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y"},
        **{"grid.color": "#e4e4e4", "axes.axisbelow": True, "legend.frameon": False, "image.cmap": "viridis"},
    }
)


def explore(function: Callable[..., Any], **controls: Any) -> None:
    """Call the function with widgets for its arguments; where nobody can move them, with their first values.

    A range is a slider, a list a menu, ("value", range) a slider that begins there.
    """
    first = {name: control[0] for name, control in controls.items()}
    if IS_HEADLESS:
        function(**first)
        return
    from ipywidgets import Dropdown, IntSlider, SelectionSlider, interact

    widgets = {}
    for name, control in controls.items():
        start, values = control[0], control[1] if isinstance(control, tuple) else control
        if isinstance(values, range):
            widgets[name] = IntSlider(start, values[0], values[-1], values.step, continuous_update=False)
        else:
            kind = SelectionSlider if isinstance(start, float) else Dropdown
            widgets[name] = kind(options=list(values), value=start)
    interact(function, **widgets)


def bars(
    axis: Axes,
    groups: Sequence[str],
    series: Mapping[str, Sequence[Mapping[str, Any] | None]],
    *,
    colours: Mapping[str, str],
    scale: float = 100.0,
) -> None:
    """Draw groups of bars, one per series: means, standard deviations as whiskers, and each seed as a dot.

    Args:
        axis: Where.
        groups: Names below the groups.
        series: Name -> a row of `means` or `differences` per group; None leaves a gap.
        colours: Of the series.
        scale: 100 shows shares in percent.
    """
    width = 0.8 / max(1, len(series))
    for place, (name, rows) in enumerate(series.items()):
        here = [number for number, row in enumerate(rows) if row is not None]
        known = [row for row in rows if row is not None]
        x = np.array(here) + (place - (len(series) - 1) / 2) * width
        height = [scale * row["mean"] for row in known]
        style = {"color": colours[name], "hatch": HATCHES[place % len(HATCHES)], "edgecolor": "white"}
        axis.bar(x, height, width * 0.94, label=name, **style)
        spread = [scale * (row["std"] or 0.0) for row in known]
        if any(spread):
            axis.errorbar(x, height, yerr=spread, fmt="none", ecolor="#222222", elinewidth=0.9, capsize=2)
        for at, row in zip(x, known, strict=True):
            values = [scale * value for value in row["values"].values()]
            axis.plot([at] * len(values), values, ".", color="#222222", markersize=2.5, alpha=0.6)
    axis.set_xticks(range(len(groups)), groups)


def by_task(rows: Iterable[Mapping[str, Any]], tasks: Sequence[str]) -> list[Mapping[str, Any] | None]:
    """The row of each task, in this order; None where there is none."""
    found = {row["task"]: row for row in rows}
    return [found.get(task) for task in tasks]


def short(task: str) -> str:
    """The task's name on three lines; "both" is an image with a text."""
    number, _, asked = TASKS.get(task, task).partition(" ")
    if task not in TASKS or task == "avg_all":
        return TASKS.get(task, task).replace(" ", "\n")
    query, _, wanted = asked.replace("image+text", "both").partition(" → ")
    return f"{number}\n{query}\n→ {wanted}"


def keep(figure: Figure, name: str, *, small: bool) -> None:
    """Keep a figure for README, unless it is of the small run."""
    if not small:
        FIGURES.mkdir(parents=True, exist_ok=True)
        figure.savefig(FIGURES / f"{name}.png", metadata={"Software": None})


def cards(items: Iterable[tuple[Item, str, str]], title: str = "") -> None:
    """Show queries or documents side by side: (item, caption, mark of MARKS)."""
    boxes = "".join(_card(*one) for one in items)
    if not boxes:
        return
    heading = f"<div style='margin:6px 0 2px;font-weight:600'>{html.escape(title)}</div>" if title else ""
    display(HTML(f"{heading}<div style='display:flex;flex-wrap:wrap;gap:6px'>{boxes}</div>"))


def hit_cards(hits: Iterable[Hit], kinds: Mapping[int, str], title: str = "") -> None:
    """Show a ranking: rank and score, the positive, and which documents the rules select."""
    shown = []
    for hit in hits:
        mark = "positive" if hit.is_positive else kinds.get(hit.rank or 0, "")
        place = "not in the ranking" if hit.rank is None else f"{hit.rank}: {hit.score:.3f}"
        shown.append((hit.document, f"{place} {WORDS.get(mark, mark)}", mark))
    cards(shown, title)


def table(rows: Sequence[Sequence[Any]], head: Sequence[str]) -> None:
    """Show a plain table; numbers on the right."""
    lines = ["".join(f"<th style='text-align:left'>{html.escape(name)}</th>" for name in head)]
    for row in rows:
        sides = ["left" if isinstance(cell, str) else "right" for cell in row]
        cells = zip(sides, (html.escape(str(cell)) for cell in row), strict=True)
        lines.append("".join(f"<td style='text-align:{side};white-space:nowrap'>{cell}</td>" for side, cell in cells))
    display(HTML(f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"))


def plus_minus(row: Mapping[str, Any] | None, *, signed: bool = False, scale: float = 100.0) -> str:
    """Percent with the standard deviation over seeds."""
    if row is None:
        return "–"
    mean = f"{scale * row['mean']:{'+' if signed else ''}.1f}"
    return mean if row["std"] is None else f"{mean} ± {scale * row['std']:.1f}"


def _card(item: Item, caption: str, mark: str) -> str:
    colour = MARKS[mark]
    picture = (
        f"<img src='{_uri(item)}' style='width:64px;height:64px;margin:0 auto 2px;display:block'>" if item.image else ""
    )
    text = f"<div>{html.escape(item.text)}</div>" if item.text else ""
    return (
        f"<div style='width:112px;border:2px solid {colour};border-radius:4px;padding:4px;font-size:10px;"
        f"line-height:1.25;background:white;color:black'><div style='color:#444;border-bottom:1px solid #eee;"
        f"margin-bottom:3px'>{html.escape(caption)}</div>{picture}{text}</div>"
    )


def _uri(item: Item) -> str:
    stream = io.BytesIO()
    assert item.image is not None
    small = item.image.copy()
    small.thumbnail((96, 96))
    small.save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
