"""The files of a comparison: the page, its Markdown twin, the tidy table and every number with its record."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_mmembed.evaluation.comparison.content import Content
from lit_mmembed.evaluation.comparison.dots import WIDTH
from lit_mmembed.evaluation.comparison.measuring import Comparison, Difference
from lit_mmembed.evaluation.report.table import markdown
from lit_mmembed.evaluation.report.writing import write_template
from lit_mmembed.files import atomic_file, file_hash, write_json
from lit_mmembed.record import run_record

TEMPLATE = Path(__file__).parent / "comparison.html"
COLUMNS = (
    *("base", "other", "metric", "k", "task", "dataset", "n"),
    *("base_value", "other_value", "difference", "low", "high", "p", "p_holm", "significant"),
)


def write_page(path: Path, content: Content) -> Path:
    """Render the page: one file that asks for nothing else."""
    return write_template(path, TEMPLATE, content=content, width=WIDTH)


def write_markdown(path: Path, content: Content) -> None:
    """Write what the page says in Markdown, without figures and examples."""
    parts = [f"# {content.title}", content.sentence, "\n".join(f"- {finding}" for finding in content.findings)]
    parts += [*(markdown(table) for table in content.tables), *content.explanations, markdown(content.settings)]
    parts += ["## What produced it", "\n".join(f"- {name}: {value}" for name, value in content.facts)]
    parts += [f"Left out: {'; '.join(content.missing)}."] if content.missing else []
    with atomic_file(path) as partial:
        partial.write_text("\n\n".join(part.strip("\n") for part in parts) + "\n", encoding="utf-8")


def write_csv(path: Path, comparison: Comparison) -> None:
    """Write one row per pair, measure and task."""
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for pair, rows in comparison.by_pair:
            names = {"base": pair.base.name, "other": pair.other.name}
            writer.writerows({**_row(row), **names} for row in rows)


def write_numbers(path: Path, comparison: Comparison, content: Content) -> None:
    """Write every number in JSON: rows per pair, the settings that differ, and the record of what was compared."""
    pairs = [
        {
            "base": pair.base.name,
            "other": pair.other.name,
            "paired_seeds": pair.is_paired,
            "rows": [{**_row(row), "by_seed": row.by_seed} for row in rows],
        }
        for pair, rows in comparison.by_pair
    ]
    names = [contender.name for contender in comparison.contenders]
    settings = {
        line.label: dict(zip(names, (cell.text for cell in line.cells), strict=True)) for line in content.settings.lines
    }
    write_json(path, {"pairs": pairs, "settings": settings, "record": _record(comparison)})


def _row(row: Difference) -> dict[str, Any]:
    """The averages have the k of the measure, or 0 where it is each task's own."""
    return {
        "metric": row.measure.metric,
        "k": row.measure.cutoff(row.task) if row.task else row.measure.k or 0,
        "task": row.name,
        "dataset": row.task.dataset if row.task else "all",
        "n": row.n,
        "base_value": row.base,
        "other_value": row.other,
        "difference": row.difference,
        "low": row.low,
        "high": row.high,
        "p": row.p,
        "p_holm": row.p_corrected,
        "significant": row.is_significant,
    }


def _record(comparison: Comparison) -> Mapping[str, Any]:
    judgements = comparison.judgements
    systems = {
        contender.name: [
            {"seed": e.seed, "stage": e.stage.place, "run_hash": file_hash(e.ranking), "run": dict(e.record)}
            for e in contender.evaluations
        ]
        for contender in comparison.contenders
    }
    return run_record(
        data_hash=judgements.directory.hash,
        split=judgements.split,
        pool=comparison.pool,
        samples=comparison.draws.samples,
        seed=comparison.draws.seed,
        systems=systems,
    )
