"""The report's files: the page, its Markdown twin with its figure, and the tidy table of numbers."""

from __future__ import annotations

import csv
from pathlib import Path

from lit_mmembed.evaluation.report.collect import Run
from lit_mmembed.evaluation.report.content import Content
from lit_mmembed.evaluation.report.drawing import HEIGHT, LEFT, RIGHT, TOP, WIDTH, drawings_of, write_png
from lit_mmembed.evaluation.report.table import markdown
from lit_mmembed.files import atomic_file

HERE = Path(__file__).parent
CURVES_FILE = "curves.png"
COLUMNS = (
    *("model", "encoder", "instructions", "variant", "seed", "split", "reranker", "stage"),
    *("task", "dataset", "pool", "metric", "k", "value", "low", "high", "n"),
)


def write_page(path: Path, content: Content) -> Path:
    """Render the page: one file that asks for nothing else."""
    frame = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP}
    drawings = drawings_of(content.panels, content.styles)
    return write_template(path, HERE / "page.html", content=content, drawings=drawings, frame=frame)


def write_template(path: Path, template: Path, **values: object) -> Path:
    """Fill in a page's template, which may import this folder's parts and include its style sheet."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([template.parent, HERE])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.get_template(template.name).render(**values)
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


def write_markdown(path: Path, content: Content) -> None:
    """Write the same tables in Markdown, the curves as a PNG beside it."""
    headline = content.headline
    parts = [f"# {content.name}", headline.sentence, *headline.findings]
    parts += [markdown(table) for table in (*content.scores, *content.differences)]
    figure = path.with_name(CURVES_FILE)
    figure.unlink(missing_ok=True)
    if content.panels:
        write_png(figure, content.panels, content.styles)
        parts.append(f"## Training\n\n![Training and validation curves]({CURVES_FILE})")
    parts += [markdown(table) for table in content.mining]
    facts = "\n".join(f"- {name}: {value}" for name, value in content.provenance.facts)
    parts += ["## What produced it", facts, markdown(content.provenance.evaluations)]
    parts += [f"```sh\n{content.provenance.commands}\n```"]
    parts += [f"Left out: {'; '.join(content.missing)}."] if content.missing else []
    with atomic_file(path) as partial:
        partial.write_text("\n\n".join(part.strip("\n") for part in parts) + "\n", encoding="utf-8")


def write_csv(path: Path, run: Run) -> None:
    """Write one row per number, with its labels."""
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for evaluation in run.everything:
            stage = evaluation.stage
            split = stage.arguments.get("split", "")
            labels = (*evaluation.system, evaluation.seed, split, stage.reranker, stage.name)
            for s in evaluation.scores:
                writer.writerow((*labels, s.task, s.dataset, s.pool, s.metric, s.k, s.value, s.low, s.high, s.n))
