"""The reranking study: per split and retriever, what each reranker makes of the ranking, and the paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from lit_mmembed.evaluation.report.collect import Evaluation, Run, System, table_order
from lit_mmembed.evaluation.report.differences import NO_CLAIM, signed
from lit_mmembed.evaluation.report.rerankers import reranker_order
from lit_mmembed.evaluation.report.stage import NOT_RERANKED
from lit_mmembed.evaluation.report.summary import ENOUGH_SEEDS, Summary, difference, measured_rows
from lit_mmembed.evaluation.report.table import NONE, Cell, Head, Line, Table
from lit_mmembed.evaluation.report.tables import hit_name, percent, task_line

POOL, MEAN = "global", "avg_all"
MEANS = {"hit@1": ("hit", 1), "MRR@10": ("mrr", 10)}
"""What is shown beside hit@k, as a mean over tasks: metric and k."""
RETRIEVAL, GAP = "retrieval", "change"
EXPLAINED = {
    "oracle": "Oracle: ordered by the labels, the most that any order of the same documents can give.",
    "fused": "Fused: mixed with the retriever's score, by the weight that was best on the validation queries.",
}
Key = tuple[str, str, int | None, str]
"""Pool, metric, k (None: each task's own), task."""


class _Study(NamedTuple):
    """A retriever on a split."""

    split: str
    system: System
    by_reranker: Mapping[str, Sequence[Evaluation]]
    """Evaluations of its seeds; those of the ranking that was reranked come first."""

    def summary(self, reranker: str, key: Key) -> Summary | None:
        """One number over its seeds."""
        found = {e.seed: score.value for e in self.by_reranker.get(reranker, ()) if (score := e.by_name.get(key))}
        return Summary(dict(sorted(found.items()))) if found else None

    def cells(self, key: Key) -> list[Cell]:
        """A row: the ranking as it was, then of each reranker the number and the difference."""
        before = self.summary(NOT_RERANKED, key)
        cells = []
        for name in self.by_reranker:
            after = self.summary(name, key)
            cells.append(percent(after))
            if name != NOT_RERANKED:
                gap = difference(after, before)
                cells.append(signed(gap) if gap else Cell(NONE))
        return cells


def reranking_tables(run: Run) -> list[Table]:
    """A table for each retriever and split of which something was reranked."""
    places = sorted(
        {(e.system, e.stage.split) for e in run.reranked}, key=lambda place: (table_order(place[0]), place[1])
    )
    studies = [_study(run, system, split) for system, split in places]
    return [_table(run, study) for study in studies if set(study.by_reranker) - {NOT_RERANKED}]


def _study(run: Run, system: System, split: str) -> _Study:
    found: dict[str, list[Evaluation]] = {}
    for evaluation in run.reranked:
        if (evaluation.system, evaluation.stage.split) == (system, split):
            found.setdefault(evaluation.stage.reranker, []).append(evaluation)
    if NOT_RERANKED not in found:
        found[NOT_RERANKED] = [e for e in run.evaluations if (e.system, e.stage.split) == (system, split)]
    return _Study(split, system, {name: found[name] for name in sorted(found, key=reranker_order)})


def _table(run: Run, study: _Study) -> Table:
    shown = tuple(evaluation for several in study.by_reranker.values() for evaluation in several)
    rows = measured_rows(replace(run, evaluations=shown))
    hit = hit_name(rows)
    lines = [task_line(row, study.cells((POOL, "headline", None, row.name))) for row in rows]
    for label, (metric, k) in MEANS.items():
        key = (POOL, metric, k, MEAN)
        if any(key in evaluation.by_name for evaluation in shown):
            lines.append(Line(label, "mean of all tasks", study.cells(key), is_average=True))
    heads = [Head("", RETRIEVAL)]
    for name in study.by_reranker:
        heads += [] if name == NOT_RERANKED else [Head(name, hit.partition(" ")[0]), Head(name, GAP)]
    split = f", {study.split} split" if study.split else ""
    return Table(f"Reranking: {_retriever(run, study.system)}{split}", heads, lines, _notes(study, hit))


def _retriever(run: Run, system: System) -> str:
    """Encoder and model, and what else tells it from another retriever of the study."""
    name = f"{system.encoder} {system.model}".strip()
    alike = {e.system for e in run.reranked if e.system[:2] == system[:2]}
    others = (system.instructions and f"{system.instructions} instructions", system.variant)
    return f"{name} ({', '.join(filter(None, others))})" if len(alike) > 1 else name


def _notes(study: _Study, hit: str) -> list[str]:
    before = {evaluation.seed for evaluation in study.by_reranker[NOT_RERANKED]}
    paired = [len(before & {e.seed for e in several}) for name, several in study.by_reranker.items()]
    fewest = min(paired)
    spread = "mean ± standard deviation over seeds; differences over paired seeds" if fewest > 1 else "one seed"
    notes = [
        f"{hit}, global pool, percent: {spread}.",
        "Retrieval is the ranking that was reranked; a change is in percentage points against it.",
    ]
    notes += [text for word, text in EXPLAINED.items() if any(word in name for name in study.by_reranker)]
    if fewest < ENOUGH_SEEDS:
        notes.append(f"Fewer than {ENOUGH_SEEDS} paired seeds: {NO_CLAIM}.")
    return notes
