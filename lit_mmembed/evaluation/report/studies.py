"""Tables of a study: curricula with text-to-text sets (Table 6), instructions (Table 5), any other ablation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from lit_mmembed.evaluation.report.collect import Evaluation, Run, System
from lit_mmembed.evaluation.report.differences import signed
from lit_mmembed.evaluation.report.paper import curriculum_figures, instruction_columns, instruction_figures
from lit_mmembed.evaluation.report.summary import (
    ACCURACY,
    AVERAGES,
    HIT,
    Measured,
    Summary,
    difference,
    summarize,
    text_summary,
)
from lit_mmembed.evaluation.report.table import NONE, Cell, Head, Line, Table
from lit_mmembed.evaluation.report.tables import DIRECTION_ONLY, column_label, hit_name, paper_cell, percent, task_line

MEAN, SINGLE_MODAL = "avg_all", "avg_single_modal"
ZERO_SHOT = "zero-shot"
ABLATION, BASELINE = "ablation", "baseline"
CURRICULUM_NOTES = (
    "Multimodal: hit@5 over the global pool. Texts: nDCG@10 of each set over its own passages, mean over sets.",
    "The paper's columns are of its Table 6: recall@5 of M-BEIR's tasks 1 to 5, and nDCG@10 of seven BEIR sets; 2,000 "
    "steps each, from NV-Embed-v1 or from M_hard. It can be compared in direction only.",
)
INSTRUCTION_NOTE = (
    "Over the local pools, as in the paper's Table 5, which has development queries of tasks 1, 4 and 5: the modality "
    "can't be wrong, so what is left is how well the query is understood."
)


def study_tables(run: Run, rows: Sequence[Measured]) -> list[Table]:
    """The tables that a run folder's labels ask for; none for a plain run."""
    makers = (_curriculum, _text_sets, _instructions, _ablation)
    return [table for maker in makers if (table := maker(run, rows)) is not None]


def _curriculum(run: Run, rows: Sequence[Measured]) -> Table | None:
    if not run.texts:
        return None
    systems = list(dict.fromkeys((*run.systems, *(evaluation.system for evaluation in run.texts))))
    multimodal: list[tuple[Head, str, str]] = [
        (Head("multimodal", "tasks 1 to 5"), HIT, SINGLE_MODAL),
        (Head("multimodal", "all tasks"), HIT, MEAN),
        (Head("multimodal", "M.A.@1"), ACCURACY, MEAN),
    ]
    heads = [head for head, _, _ in multimodal] + [Head("texts", "nDCG@10")]
    heads += [Head("paper (Table 6)", "M-BEIR, tasks 1 to 5"), Head("paper (Table 6)", "BEIR")]
    groups = {column_label(systems, system).group for system in systems}
    lines = []
    for system in systems:
        cells = [percent(summarize(run, system, "global", measure, task)) for _, measure, task in multimodal]
        cells.append(percent(text_summary(run, system, MEAN)))
        cells += [paper_cell(figure) for figure in curriculum_figures(system.model)]
        lines.append(Line(system.model, column_label(systems, system).group if len(groups) > 1 else "", cells))
    return Table("Multimodal and text-to-text retrieval", heads, lines, CURRICULUM_NOTES)


def _text_sets(run: Run, rows: Sequence[Measured]) -> Table | None:
    if not run.texts:
        return None
    counts = {score.task: score.n for evaluation in run.texts for score in evaluation.scores}
    systems = list(dict.fromkeys(evaluation.system for evaluation in run.texts))
    lines = [
        Line(name, f"{n:,} queries", [percent(text_summary(run, system, name)) for system in systems])
        for name, n in counts.items()
        if name not in AVERAGES
    ]
    cells = [percent(text_summary(run, system, MEAN)) for system in systems]
    lines.append(Line("all sets", "mean", cells, is_average=True))
    heads = [column_label(systems, system) for system in systems]
    return Table("nDCG@10 on the text sets, each over its own passages", heads, lines)


def _instructions(run: Run, rows: Sequence[Measured]) -> Table | None:
    asked = {system.instructions for system in run.systems}
    if not {"with", "without"} <= asked or not any(system.model == ZERO_SHOT for system in run.systems):
        return None
    tasks = [row for row in rows if row.task and row.task.paper_id in (1, 4, 5)]
    columns = instruction_columns()
    systems = sorted(run.systems, key=lambda system: (system.encoder, system.model != ZERO_SHOT, system.model))
    heads = [Head(f"{system.encoder}, {system.model}", f"{system.instructions} instructions") for system in systems]
    heads += [Head("paper, M-BEIR", column) for column in columns]
    lines = []
    for row in tasks:
        cells = [percent(summarize(run, system, "local", HIT, row.name)) for system in systems]
        lines.append(task_line(row, [*cells, *(paper_cell(figure) for figure in instruction_figures(row))]))
    notes = [INSTRUCTION_NOTE, DIRECTION_ONLY]
    return Table(f"Instructions: {hit_name(rows)}, local pools", heads, lines, notes) if lines else None


class _Setting(NamedTuple):
    """A row of an ablation: what was set, as which system."""

    ablation: str
    system: System


def _ablation(run: Run, rows: Sequence[Measured]) -> Table | None:
    """Settings side by side, each with its paired difference to the baseline of its ablation."""
    found = [e for e in run.evaluations if e.stage.labels.get(ABLATION)]
    if not found:
        return None
    settings = list(dict.fromkeys(_Setting(str(e.stage.labels[ABLATION]), e.system) for e in found))
    baselines = {str(e.stage.labels[ABLATION]): e.system for e in found if e.stage.labels.get(BASELINE)}
    measures: Mapping[str, Callable[[System], Summary | None]] = {
        hit_name(rows).partition(" ")[0]: lambda system: summarize(run, system, "global", HIT, MEAN),
        "M.A.@1": lambda system: summarize(run, system, "global", ACCURACY, MEAN),
        "local pools": lambda system: summarize(run, system, "local", HIT, MEAN),
    }
    heads = [Head(name, label) for name in measures for label in ("mean", "− baseline")]
    lines = []
    for setting in settings:
        cells: list[Cell] = []
        baseline = baselines.get(setting.ablation)
        for measure in measures.values():
            value = measure(setting.system)
            gap = difference(value, measure(baseline)) if baseline and baseline != setting.system else None
            cells += [percent(value), signed(gap) if gap else Cell(NONE)]
        label = f"{setting.ablation}: {setting.system.model}"
        lines.append(Line(label, "baseline" if baseline == setting.system else "", cells))
    return Table("Ablations", heads, lines, _ablation_notes(found))


def _ablation_notes(found: Sequence[Evaluation]) -> list[str]:
    seeds = len({evaluation.seed for evaluation in found})
    several = f"± standard deviation over {seeds} seeds; differences are over paired seeds" if seeds > 1 else "one seed"
    notes = [f"Means over all tasks, {several}."]
    said = dict.fromkeys(str(e.stage.labels["paper"]) for e in found if e.stage.labels.get("paper"))
    return [*notes, *(f"The paper: {words}" for words in said)]
