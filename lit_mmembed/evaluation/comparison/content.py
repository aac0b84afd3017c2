"""Everything that the page of a comparison says, gathered once for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lit_mmembed.evaluation.comparison.configuration import without_configuration
from lit_mmembed.evaluation.comparison.dots import Figure, figure_of
from lit_mmembed.evaluation.comparison.judging import Measure
from lit_mmembed.evaluation.comparison.measuring import Comparison
from lit_mmembed.evaluation.comparison.queries import PairExamples, examples_of
from lit_mmembed.evaluation.comparison.tables import (
    explanations_of,
    findings_of,
    label_of,
    measure_name,
    seeds_of,
    settings_table,
    tables_of,
)
from lit_mmembed.evaluation.report.pictures import Pictures
from lit_mmembed.evaluation.report.provenance import SHORT
from lit_mmembed.evaluation.report.table import Table

MOST_IN_TITLE = 3


@dataclass(frozen=True)
class Content:
    """The comparison before it takes a form."""

    title: str
    sentence: str
    findings: Sequence[str]
    figures: Sequence[Figure]
    legend: Sequence[str]
    """Titles of the pairs."""
    tables: Sequence[Table]
    explanations: Sequence[str]
    settings: Table
    examples: Sequence[PairExamples]
    pictures_left_out: int
    facts: Sequence[tuple[str, str]]
    missing: Sequence[str]


def content_of(comparison: Comparison) -> Content:
    """Gather what the page says."""
    pairs, pictures = comparison.pairing.pairs, Pictures()
    examples = examples_of(pairs, comparison.judgements, comparison.judged, pictures)
    titles = list(dict.fromkeys(pair.title for pair in pairs))
    return Content(
        title=_title(comparison),
        sentence=_sentence(comparison),
        findings=findings_of(comparison),
        figures=[_figure(comparison, what) for what in comparison.measures],
        legend=titles,
        tables=tables_of(comparison),
        explanations=explanations_of(comparison),
        settings=settings_table(comparison.contenders),
        examples=examples,
        pictures_left_out=pictures.left_out,
        facts=_facts(comparison),
        missing=_missing(comparison, examples),
    )


def _title(comparison: Comparison) -> str:
    pairs = comparison.pairing.pairs
    if len({pair.base.name for pair in pairs}) > 1 or len(pairs) > MOST_IN_TITLE:
        return f"{len(pairs)} comparisons"
    return f"{', '.join(pair.other.name for pair in pairs)} against {pairs[0].base.name}"


def _figure(comparison: Comparison, what: Measure) -> Figure:
    pairs = [[row for row in rows if row.measure == what] for rows in comparison.differences]
    return figure_of(measure_name(what, comparison.judgements.tasks), [label_of(row) for row in pairs[0]], pairs)


def _sentence(comparison: Comparison) -> str:
    judgements, pairing = comparison.judgements, comparison.pairing
    counts = f"{len(judgements.tasks)} tasks, {sum(len(group.rows) for group in judgements.groups):,} queries"
    seeds = "; ".join(dict.fromkeys(seeds_of(pair) for pair in pairing.pairs))
    where = f"{judgements.directory.name}, {judgements.split} split, {comparison.pool} pool: {counts}; {seeds}."
    return f"{pairing.shared} on {where}" if pairing.shared else f"On {where}"


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    evaluations = comparison.pairing.evaluations
    versions: dict[str, list[object]] = {}
    for evaluation in evaluations:
        for name, version in evaluation.record.get("versions", {}).items():
            versions.setdefault(name, []).append(version)
    facts = [
        ("data", comparison.judgements.directory.name),
        ("data hash", comparison.judgements.directory.hash),
        ("split and pool", f"{comparison.judgements.split}, {comparison.pool}"),
        ("draws", f"{comparison.draws.samples:,}, seed {comparison.draws.seed}"),
        ("commit of the rankings", _distinct(evaluation.record.get("commit") for evaluation in evaluations)),
        ("versions", ", ".join(f"{name} {_distinct(found)}" for name, found in sorted(versions.items()))),
    ]
    for contender in comparison.contenders:
        records = [evaluation.record for evaluation in contender.evaluations]
        facts.append((f"prompt policy of {contender.name}", _distinct(record.get("prompts") for record in records)))
        hashes = [str(record.get("weights_hash") or "")[:SHORT] for record in records]
        facts.append((f"weights hash of {contender.name}", ", ".join(filter(None, hashes))))
    return [(name, value) for name, value in facts if value]


def _missing(comparison: Comparison, examples: Sequence[PairExamples]) -> list[str]:
    directory = comparison.judgements.directory
    missing = [
        f"the configuration of {name}: its model folder" for name in without_configuration(comparison.contenders)
    ]
    missing += [] if examples else [f"queries won and lost: the samples of {directory.name} cannot be read"]
    return missing + [f"{name}: nothing to compare it with" for name in comparison.pairing.left_out]


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))
