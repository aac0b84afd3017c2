"""The tables of scores: hit@k, modality accuracy, local pools, and differences between systems."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lit_mmembed.evaluation.report.collect import Run, System
from lit_mmembed.evaluation.report.paper import is_mbeir, paper_column, paper_value
from lit_mmembed.evaluation.report.summary import (
    ACCURACY,
    AVERAGES,
    ENOUGH_SEEDS,
    HIT,
    Measured,
    Summary,
    compared_systems,
    difference,
    summarize,
)
from lit_mmembed.evaluation.report.table import NONE, Cell, Head, Line, Table
from lit_mmembed.types import Modality

ARROW = "→"
MODALITY_WORDS = {Modality.TEXT: "text", Modality.IMAGE: "image", Modality.IMAGE_TEXT: "image+text"}
TITLES = {
    (HIT, "global"): "{hit}, global pool",
    (ACCURACY, "global"): "Modality accuracy@1, global pool",
    (HIT, "local"): "{hit}, local pools",
}
EXPLAINED = {
    (HIT, "global"): "Share of queries with a relevant document among the top k of all documents together, percent.",
    (ACCURACY, "global"): (
        "Share of queries whose first document has the modality asked for, percent (M.A.@1, Table 2 of the paper)."
    ),
    (HIT, "local"): (
        "The same queries over only their own dataset's documents of the modality asked for: what is left to gain when "
        "no document has the wrong modality."
    ),
}
DIRECTION_ONLY = (
    "The paper's figures are for M-BEIR (5.6M documents, a large backbone): beside another benchmark they can be "
    "compared in direction only. A task's figure is the mean of the paper's rows of that task number."
)
OWN_ROWS = "The paper's figures are those of the same rows (Table 1, Table 2)."


def score_tables(run: Run, rows: Sequence[Measured]) -> list[Table]:
    """The three tables of scores, without those that were not measured."""
    tables = [_score_table(run, rows, pool, measure) for measure, pool in TITLES]
    return [table for table in tables if table is not None]


def difference_tables(run: Run, rows: Sequence[Measured]) -> list[Table]:
    """Differences between systems over paired seeds, for hit@k and for modality accuracy."""
    pairs = compared_systems(run.systems)
    tables = []
    for measure in (HIT, ACCURACY):
        name = hit_name(rows) if measure == HIT else "modality accuracy@1"
        heads = [Head(_group(run, a) if "instructions" not in what else "", what) for what, a, _ in pairs]
        lines = [task_line(row, [_difference_cell(run, pair, measure, row) for pair in pairs]) for row in rows]
        papers = [_paper_difference(measure, pair) for pair in pairs if pair[0] == "M_hard − M_rand"][:1]
        for column, cell in papers:
            heads.append(Head("Paper, M-BEIR", column))
            lines = [line._replace(cells=[*line.cells, cell(row)]) for line, row in zip(lines, rows, strict=True)]
        if pairs and any(cell.text != NONE for line in lines for cell in line.cells):
            tables.append(Table(f"Differences in {name}, global pool", heads, lines, _difference_notes(run, pairs)))
    return tables


def hit_name(rows: Sequence[Measured]) -> str:
    """ "hit@5", and which datasets have another cut-off."""
    others = {row.task.dataset: row.task.cutoff for row in rows if row.task and row.task.cutoff != 5}
    if not others:
        return "hit@5"
    return f"hit@5 ({', '.join(f'hit@{k} for {dataset}' for dataset, k in others.items())})"


def column_label(systems: Sequence[System], system: System) -> Head:
    """The model's name under what else tells systems apart."""
    encoder = f"{system.encoder} " if len({other.encoder for other in systems}) > 1 else ""
    words = f"{system.instructions} instructions" if system.instructions else ""
    alike = [other for other in systems if other._replace(variant=system.variant) == system]
    variant = f" ({system.variant})" if len(alike) > 1 else ""
    return Head(f"{encoder}{words}{variant}".strip(), system.model)


def percent(summary: Summary | None, mark: str = "") -> Cell:
    """A mean in percent with its spread over seeds, or the interval over queries of one seed."""
    if summary is None:
        return Cell(NONE)
    if summary.std is not None:
        return Cell(f"{100 * summary.mean:.1f}", f"± {100 * summary.std:.1f}", mark)
    interval = ""
    if summary.low is not None and summary.high is not None:
        interval = f"[{100 * summary.low:.1f}, {100 * summary.high:.1f}]"
    return Cell(f"{100 * summary.mean:.1f}", interval, mark)


def signed(summary: Summary | None) -> Cell:
    """A difference in percentage points with its spread over paired seeds."""
    if summary is None:
        return Cell(NONE)
    text = f"{100 * summary.mean:+.1f}".replace("-", "−")
    mark = (
        "up" if text.startswith("+") and text != "+0.0" else "down" if text.startswith("−") and text != "−0.0" else ""
    )
    return Cell(text, "" if summary.std is None else f"± {100 * summary.std:.1f}", mark)


def _score_table(run: Run, rows: Sequence[Measured], pool: str, measure: str) -> Table | None:
    systems = run.systems
    heads = [column_label(systems, system) for system in systems]
    lines = []
    for row in rows:
        found = [summarize(run, system, pool, measure, row.name) for system in systems]
        best = max((summary.mean for summary in found if summary), default=None)
        several = sum(summary is not None for summary in found) > 1
        marks = ["best" if several and summary and summary.mean == best else "" for summary in found]
        lines.append(task_line(row, [percent(summary, mark) for summary, mark in zip(found, marks, strict=True)]))
    if all(cell.text == NONE for line in lines for cell in line.cells):
        return None
    notes = [EXPLAINED[measure, pool], _spread(run)]
    if pool == "global":
        columns = [name for name in dict.fromkeys(paper_column(s.model, s.encoder) for s in systems) if name]
        papers = [[paper_value(measure, row, column) for column in columns] for row in rows]
        heads += [Head("Paper, M-BEIR", column) for column in columns]
        lines = [
            line._replace(cells=[*line.cells, *(_paper_cell(value) for value in values)])
            for line, values in zip(lines, papers, strict=True)
        ]
        notes += [OWN_ROWS if is_mbeir(list(rows)) else DIRECTION_ONLY] if columns else []
    return Table(TITLES[measure, pool].format(hit=hit_name(rows)), heads, lines, notes)


def task_line(row: Measured, cells: Sequence[Cell]) -> Line:
    """A row of a table by the paper's task number and what is asked for with what."""
    if row.is_average:
        return Line(f"mean, {AVERAGES[row.name]}", f"{row.n:,} queries", cells, is_average=True)
    if row.task is None:
        return Line(row.name, f"{row.n:,} queries", cells)
    asked, wanted = (MODALITY_WORDS[m] for m in (row.task.query_modality, row.task.candidate_modality))
    return Line(f"T{row.task.paper_id} {row.dataset}", f"{asked} {ARROW} {wanted}", cells)


def _paper_cell(value: float | None) -> Cell:
    return Cell(NONE if value is None else f"{value:.1f}", "", "paper")


def _group(run: Run, system: System) -> str:
    return column_label(run.systems, system).group


def _difference_cell(run: Run, pair: tuple[str, System, System], measure: str, row: Measured) -> Cell:
    a, b = (summarize(run, system, "global", measure, row.name) for system in pair[1:])
    return signed(difference(a, b))


def _paper_difference(measure: str, pair: tuple[str, System, System]) -> tuple[str, Callable[[Measured], Cell]]:
    columns = [paper_column(system.model, system.encoder) for system in pair[1:]]

    def cell(row: Measured) -> Cell:
        values = [paper_value(measure, row, column) if column else None for column in columns]
        if values[0] is None or values[1] is None:
            return Cell(NONE, "", "paper")
        return Cell(f"{values[0] - values[1]:+.1f}".replace("-", "−"), "", "paper")

    return pair[0], cell


def _difference_notes(run: Run, pairs: Sequence[tuple[str, System, System]]) -> list[str]:
    seeds = {what: _paired_seeds(run, a, b) for what, a, b in pairs}
    counts = ", ".join(f"{what}: {n}" for what, n in seeds.items())
    notes = [
        "Percentage points, mean ± standard deviation over seeds that both systems have "
        f"(number of paired seeds: {counts}).",
        "The control has as many extra negatives, drawn at random: M_hard − control is what mining them gains.",
    ]
    if min(seeds.values()) < ENOUGH_SEEDS:
        notes.append(f"Fewer than {ENOUGH_SEEDS} paired seeds: not enough seeds for a claim.")
    return notes


def _paired_seeds(run: Run, a: System, b: System) -> int:
    of = {s: {e.seed for e in run.evaluations if e.system == s} for s in (a, b)}
    return len(of[a] & of[b])


def _spread(run: Run) -> str:
    counts = sorted({sum(e.system == system for e in run.evaluations) for system in run.systems})
    if counts[-1] == 1:
        return "One seed: brackets are the 95 % bootstrap interval over queries; they do not cover the spread of seeds."
    several = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[-1]}"
    return f"Mean ± standard deviation over {several} seeds."
