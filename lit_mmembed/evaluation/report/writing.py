"""The report's files: the page, its Markdown twin, and the tidy table of numbers."""

from __future__ import annotations

import csv
from pathlib import Path

from lit_mmembed.evaluation.report.collect import Run
from lit_mmembed.evaluation.report.content import Content
from lit_mmembed.evaluation.report.table import markdown
from lit_mmembed.files import atomic_file

HERE = Path(__file__).parent
COLUMNS = (
    *("model", "encoder", "instructions", "variant", "seed", "split", "stage"),
    *("task", "dataset", "pool", "metric", "k", "value", "low", "high", "n"),
)


def write_page(path: Path, content: Content) -> Path:
    """Render the page: one file that asks for nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template("page.html").render(content=content)
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def write_markdown(path: Path, content: Content) -> None:
    """Write the same tables in Markdown."""
    parts = [f"# {content.name}", *(markdown(table) for table in (*content.scores, *content.differences))]
    with atomic_file(path) as partial:
        partial.write_text("\n\n".join(part.strip("\n") for part in parts) + "\n", encoding="utf-8")


def write_csv(path: Path, run: Run) -> None:
    """Write one row per number, with its labels."""
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for evaluation in run.evaluations:
            split = evaluation.stage.arguments.get("split", "")
            labels = (*evaluation.system, evaluation.seed, split, evaluation.stage.name)
            for s in evaluation.scores:
                writer.writerow((*labels, s.task, s.dataset, s.pool, s.metric, s.k, s.value, s.low, s.high, s.n))
