"""The tables of scores: hit@k, modality accuracy and local pools, beside the paper's figures."""

from __future__ import annotations

from collections.abc import Sequence

from lit_mmembed.evaluation.report.collect import Run, System
from lit_mmembed.evaluation.report.paper import Figures, figures_beside, is_mbeir
from lit_mmembed.evaluation.report.summary import ACCURACY, AVERAGES, HIT, Measured, Summary, summarize
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
    (HIT, "global"): "Share of queries with a relevant document among the first k of all documents together, percent.",
    (ACCURACY, "global"): "Share of queries whose first document has the modality asked for, percent.",
    (HIT, "local"): (
        "The same queries over the documents of their own dataset and of the modality asked for only: no document can "
        "have the wrong modality."
    ),
}
DIRECTION_ONLY = (
    "The paper's figures are for M-BEIR (5.6M documents, CLIP ViT-L/14 and larger): beside another benchmark they can "
    "be compared in direction only."
)
BOLD = "Bold: the highest mean of the row, which is no test."
BESIDE = {
    HIT: "From Table 1: a task's figure is the mean of the paper's rows of that task number.",
    ACCURACY: "From Table 2, which has MSCOCO alone: T1 and T4.",
}
OWN_ROWS = {HIT: "The paper's figures are those of the same rows (Table 1).", ACCURACY: "The paper's are of Table 2."}


def score_tables(run: Run, rows: Sequence[Measured]) -> list[Table]:
    """The three tables of scores, without those that were not measured."""
    tables = [_score_table(run, rows, pool, measure) for measure, pool in TITLES]
    return [table for table in tables if table is not None]


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
    variant = f" ({system.variant})" if len(set(alike)) > 1 else ""
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


def task_line(row: Measured, cells: Sequence[Cell]) -> Line:
    """A row of a table by the paper's task number and what is asked for with what."""
    if row.is_average:
        label, what = AVERAGES[row.name]
        return Line(label, what, cells, is_average=True)
    if row.task is None:
        return Line(row.name, f"{row.n:,} queries", cells)
    asked, wanted = (MODALITY_WORDS[m] for m in (row.task.query_modality, row.task.candidate_modality))
    return Line(f"T{row.task.paper_id} {row.dataset}", f"{asked} {ARROW} {wanted}", cells)


def paper_notes(measure: str, rows: Sequence[Measured], figures: Sequence[Figures]) -> list[str]:
    """How the paper's figures may be read, where there are any."""
    if not figures:
        return []
    return [OWN_ROWS[measure]] if is_mbeir(rows) else [DIRECTION_ONLY, BESIDE[measure]]


def paper_cell(value: float | None) -> Cell:
    """One of the paper's figures."""
    return Cell(NONE if value is None else f"{value:.1f}", "", "paper")


def _score_table(run: Run, rows: Sequence[Measured], pool: str, measure: str) -> Table | None:
    systems = run.systems
    found = {row.name: [summarize(run, system, pool, measure, row.name) for system in systems] for row in rows}
    if not any(summary for summaries in found.values() for summary in summaries):
        return None
    figures = figures_beside(systems, measure) if pool == "global" else []
    lines = [
        task_line(row, [*_marked(found[row.name]), *(paper_cell(figure.value(row)) for figure in figures)])
        for row in rows
    ]
    heads = [column_label(systems, system) for system in systems]
    heads += [Head(f"paper, M-BEIR, {figure.encoder}".removesuffix(", "), figure.model) for figure in figures]
    notes = [EXPLAINED[measure, pool], f"{_spread(run)} {BOLD}".strip(), *paper_notes(measure, rows, figures)]
    return Table(TITLES[measure, pool].format(hit=hit_name(rows)), heads, lines, notes)


def _marked(summaries: Sequence[Summary | None]) -> list[Cell]:
    """The cells of a row, its best mean marked where there are several that differ."""
    means = {round(summary.mean, 12) for summary in summaries if summary}
    best = max(means) if len(means) > 1 else None
    return [percent(summary, "best" if summary and round(summary.mean, 12) == best else "") for summary in summaries]


def _spread(run: Run) -> str:
    counts = sorted({sum(e.system == system for e in run.evaluations) for system in run.systems})
    if counts[-1] == 1:
        return "One seed: brackets are the 95 % bootstrap interval over queries; they do not cover the spread of seeds."
    several = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[-1]}"
    return f"Mean ± standard deviation over {several} seeds."
