"""A comparison in tables and sentences, the same on the terminal, on the page and in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lit_mmembed.evaluation.comparison.configuration import differing_settings
from lit_mmembed.evaluation.comparison.judging import Measure
from lit_mmembed.evaluation.comparison.measuring import Comparison, Difference
from lit_mmembed.evaluation.comparison.systems import Contender, Pair
from lit_mmembed.evaluation.per_query import MODALITY_ACCURACY
from lit_mmembed.evaluation.report.summary import AVERAGES
from lit_mmembed.evaluation.report.summary import Measured as ReportRow
from lit_mmembed.evaluation.report.table import Cell, Head, Line, Table
from lit_mmembed.evaluation.report.tables import task_line
from lit_mmembed.types import Task

MEAN = "avg_all"
SHORT_NAMES = {MODALITY_ACCURACY: "M.A."}
P_EXPLAINED = (
    "p: paired randomisation test over queries, on each query's mean over seeds; in brackets after Holm, over the "
    "tasks and over the averages of a table. It speaks of these trained models, not of training them again. *: below "
    "0.05 after Holm, and 0 lies outside of the interval."
)
MANY_SEEDS = (
    "Brackets: 95 % interval over queries and seeds: queries drawn with replacement, alike for both systems; for the "
    "spread between {how} Student's t. With 2 seeds it is wide, and in simulations still too narrow (88 % at worst)."
)
ONE_SEED = "Brackets: 95 % interval over queries, drawn alike for both systems. One seed: its spread is not in it."


def tables_of(comparison: Comparison) -> list[Table]:
    """One table per pair and measure."""
    return [
        _table(pair, [row for row in rows if row.measure == what])
        for pair, rows in comparison.by_pair
        for what in comparison.measures
    ]


def explanations_of(comparison: Comparison) -> list[str]:
    """How the numbers of the tables are to be read."""
    intervals = [_explained(pair) for pair in comparison.pairing.pairs]
    draws = f"{comparison.draws.samples:,} draws, seed {comparison.draws.seed}."
    return ["Percent, and percentage points.", *dict.fromkeys(intervals), P_EXPLAINED, draws]


def findings_of(comparison: Comparison) -> list[str]:
    """Each pair and measure in a sentence or two."""
    is_named = len(comparison.pairing.pairs) > 1
    return [words for pair, rows in comparison.by_pair for words in _findings(pair, rows, is_named)]


def settings_table(contenders: Sequence[Contender]) -> Table:
    """The settings that differ."""
    lines = [Line(key, "", [Cell(value) for value in values]) for key, values in differing_settings(contenders)]
    heads = [Head("", contender.name) for contender in contenders]
    notes = [
        "Every setting of the trainings and of the evaluations that differs; – is one that is not set. Seeds and "
        "folders are left out; paths inside of a run folder have ${run_dir}, ${seed} and ${folder} in their place.",
        *(["Nothing differs."] if not lines else []),
    ]
    return Table("What differs in the configuration", heads, lines, notes)


def measure_name(what: Measure, tasks: Sequence[Task]) -> str:
    """ "hit@5", and which datasets have another cut-off."""
    metric = SHORT_NAMES.get(what.metric, what.metric)
    (usual, _), *others = Counter(what.cutoff(task) for task in tasks).most_common()
    rest = {task.dataset: what.cutoff(task) for task in tasks if what.cutoff(task) != usual}
    own = f" ({', '.join(f'{metric}@{k} for {dataset}' for dataset, k in rest.items())})" if others else ""
    return f"{metric}@{usual}{own}"


def label_of(row: Difference) -> str:
    """A row in few words."""
    return f"T{row.task.paper_id} {row.task.dataset}" if row.task else AVERAGES[row.name][0]


def seeds_of(pair: Pair) -> str:
    """Which seeds are compared, in words."""
    base, other = (", ".join(map(str, contender.seeds)) for contender in pair)
    if pair.is_paired:
        return f"{len(pair.base.seeds)} paired seeds ({base})" if len(pair.base.seeds) > 1 else f"seed {base}"
    return f"unpaired seeds: {base} of {pair.base.name}, {other} of {pair.other.name}"


def _table(pair: Pair, rows: Sequence[Difference]) -> Table:
    name = measure_name(rows[0].measure, [row.task for row in rows if row.task])
    lines = []
    for row in rows:
        dataset = row.task.dataset if row.task else "all"
        star = " *" if row.is_significant else ""
        mark = ("up" if row.difference > 0 else "down") if row.is_significant else ""
        cells = [
            Cell(f"{100 * row.base:.1f}"),
            Cell(f"{100 * row.other:.1f}"),
            Cell(f"{_signed(row.difference)}{star}", f"[{_signed(row.low)}, {_signed(row.high)}]", mark),
            Cell(_p(row.p), f"({_p(row.p_corrected)})"),
        ]
        lines.append(task_line(ReportRow(row.name, dataset, row.n, row.task), cells))
    heads = [Head("", label) for label in (pair.base.name, pair.other.name, "difference", "p (Holm)")]
    return Table(f"{name}: {pair.title}", heads, lines)


def _findings(pair: Pair, rows: Sequence[Difference], is_named: bool) -> list[str]:
    """The mean over tasks of each measure, and on which tasks the difference is significant."""
    found = []
    for mean in (row for row in rows if row.name == MEAN):
        tasks = [row for row in rows if row.measure == mean.measure and row.task]
        name = measure_name(mean.measure, [row.task for row in tasks if row.task])
        moved = [f"{label_of(row)} ({_signed(row.difference)})" for row in tasks if row.is_significant]
        verdict = "" if mean.is_significant else ", no difference that these runs can show"
        title = f"{pair.title}, " if is_named else ""
        found.append(
            f"{title}{name}, mean of tasks: {100 * mean.base:.1f} → {100 * mean.other:.1f}, "
            f"{_signed(mean.difference)} points [{_signed(mean.low)}, {_signed(mean.high)}]{verdict}. "
            f"Significant on {', '.join(moved) if moved else 'no task'}."
        )
    return found


def _explained(pair: Pair) -> str:
    if max(len(pair.base.seeds), len(pair.other.seeds)) == 1:
        return ONE_SEED
    return MANY_SEEDS.format(how="paired seeds" if pair.is_paired else "each system's own seeds")


def _signed(share: float) -> str:
    """A difference in percentage points."""
    text = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def _p(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"
