"""Differences between systems over paired seeds, and what may be claimed from them."""

from __future__ import annotations

from collections.abc import Sequence

from lit_mmembed.evaluation.report.collect import Run
from lit_mmembed.evaluation.report.paper import Figures, figures_beside
from lit_mmembed.evaluation.report.summary import (
    ACCURACY,
    ENOUGH_SEEDS,
    HIT,
    MODELS,
    Comparison,
    Measured,
    Summary,
    compared_systems,
    difference,
    summarize,
    text_summary,
)
from lit_mmembed.evaluation.report.table import NONE, Cell, Head, Table
from lit_mmembed.evaluation.report.tables import column_label, hit_name, paper_cell, paper_notes, task_line

EXPLAINED = {
    "control": "The control has as many extra negatives, drawn at random: M_hard − control is what mining them gains.",
    "M_rand": "M_hard − M_rand is the paper's comparison; M_hard has seen more negatives than M_rand as well.",
}
NO_CLAIM = "not enough seeds for a claim"


def difference_tables(run: Run, rows: Sequence[Measured]) -> list[Table]:
    """Tables of hit@k and of modality accuracy, in percentage points; none when nothing can be compared."""
    tables = [_table(run, rows, measure) for measure in (HIT, ACCURACY)]
    return [table for table in tables if table is not None]


def findings_of(run: Run, task: str, hit: str) -> list[str]:
    """Every comparison in a sentence: over how many seeds, how many of them agree, whether that is enough."""
    sentences = []
    for pair in compared_systems(run.systems):
        gaps = {
            name: gap
            for name, measure in ((hit, HIT), ("M.A.@1", ACCURACY))
            if (gap := _gap(run, pair, measure, task)) is not None
        }
        text = difference(text_summary(run, pair.a, task), text_summary(run, pair.b, task))
        if text is not None:
            gaps["nDCG@10 of texts"] = text
        if gaps:
            numbers = ", ".join(f"{name} {_words(gap)}" for name, gap in gaps.items())
            enough = min(gap.n for gap in gaps.values()) >= ENOUGH_SEEDS
            sentences.append(f"{_subject(run, pair)}: {numbers}{'' if enough else f'; {NO_CLAIM}'}.")
    return sentences


def signed(summary: Summary | None) -> Cell:
    """A difference in percentage points with its spread over paired seeds."""
    if summary is None:
        return Cell(NONE)
    detail = "" if summary.std is None else f"± {100 * summary.std:.1f}"
    return _signed(100 * summary.mean)._replace(detail=detail)


def _table(run: Run, rows: Sequence[Measured], measure: str) -> Table | None:
    pairs = [pair for pair in compared_systems(run.systems) if any(_gap(run, pair, measure, r.name) for r in rows)]
    if not pairs:
        return None
    heads = [Head(column_label(run.systems, p.a).group if p.kind == MODELS else p.kind, _named(run, p)) for p in pairs]
    figures = _paper(run, measure, pairs)
    heads += [Head(f"paper, M-BEIR, {high.encoder}", "M_hard − M_rand") for high, _ in figures]
    lines = [
        task_line(
            row,
            [
                *(signed(_gap(run, pair, measure, row.name)) for pair in pairs),
                *(_paper_gap(high.value(row), low.value(row)) for high, low in figures),
            ],
        )
        for row in rows
    ]
    name = hit_name(rows) if measure == HIT else "modality accuracy@1"
    notes = [*_notes(run, pairs), *paper_notes(measure, rows, [high for high, _ in figures])]
    return Table(f"Differences in {name}, global pool", heads, lines, notes)


def _gap(run: Run, pair: Comparison, measure: str, task: str) -> Summary | None:
    a, b = (summarize(run, system, "global", measure, task) for system in (pair.a, pair.b))
    return difference(a, b)


def _paper(run: Run, measure: str, pairs: Sequence[Comparison]) -> list[tuple[Figures, Figures]]:
    """The paper's M_hard and M_rand of each encoder for which we compare the two."""
    compared = {pair.a.encoder for pair in pairs if pair.label == "M_hard − M_rand"}
    figures = {(figure.model, figure.encoder): figure for figure in figures_beside(run.systems, measure)}
    return [
        (figures["M_hard", encoder], figures["M_rand", encoder])
        for encoder in sorted(compared)
        if ("M_hard", encoder) in figures and ("M_rand", encoder) in figures
    ]


def _paper_gap(high: float | None, low: float | None) -> Cell:
    if high is None or low is None:
        return paper_cell(None)
    return _signed(high - low)._replace(mark="paper")


def _signed(points: float) -> Cell:
    text = f"{points:+.1f}".replace("-", "−")
    if text[1:] == "0.0":
        return Cell("0.0")
    return Cell(text, "", "up" if points > 0 else "down")


def _notes(run: Run, pairs: Sequence[Comparison]) -> list[str]:
    seeds = sorted({_paired_seeds(run, pair) for pair in pairs})
    several = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    spread = f"mean ± standard deviation over {several} paired seeds" if seeds[-1] > 1 else "on one seed"
    notes = [f"Percentage points, {spread}."]
    notes += [text for other, text in EXPLAINED.items() if any(pair.label == f"M_hard − {other}" for pair in pairs)]
    if seeds[0] < ENOUGH_SEEDS:
        notes.append(f"Fewer than {ENOUGH_SEEDS} paired seeds: {NO_CLAIM}.")
    return notes


def _paired_seeds(run: Run, pair: Comparison) -> int:
    of = [{e.seed for e in run.evaluations if e.system == system} for system in (pair.a, pair.b)]
    return len(of[0] & of[1])


def _subject(run: Run, pair: Comparison) -> str:
    if pair.kind != MODELS:
        return f"{_named(run, pair)} {pair.kind.replace('−', 'minus')}"
    group = column_label(run.systems, pair.a).group
    return f"{pair.label.replace('−', 'minus')}{', ' + group if group else ''}"


def _named(run: Run, pair: Comparison) -> str:
    """The comparison's label; with the encoder, where there are several, of a model with and without instructions."""
    several = len({system.encoder for system in run.systems}) > 1
    return f"{pair.a.encoder} {pair.label}" if pair.kind != MODELS and several else pair.label


def _words(gap: Summary) -> str:
    cell = signed(gap)
    if gap.n == 1:
        return f"{cell.text} points on one seed"
    higher = sum(value > 0 for value in gap.values.values())
    return f"{cell.text} {cell.detail} points (higher in {higher} of {gap.n} seeds)"
