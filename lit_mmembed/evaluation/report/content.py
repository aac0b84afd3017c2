"""Everything the report says, gathered once for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lit_mmembed.evaluation.report.collect import Run, table_order
from lit_mmembed.evaluation.report.curves import Panel, panels_of
from lit_mmembed.evaluation.report.differences import difference_tables
from lit_mmembed.evaluation.report.gallery import Gallery, gallery_of
from lit_mmembed.evaluation.report.headline import Headline, headline_of
from lit_mmembed.evaluation.report.mining import mining_tables
from lit_mmembed.evaluation.report.pictures import Pictures
from lit_mmembed.evaluation.report.provenance import Provenance, provenance_of
from lit_mmembed.evaluation.report.reranking import reranking_tables
from lit_mmembed.evaluation.report.stage import MODELS
from lit_mmembed.evaluation.report.studies import study_tables
from lit_mmembed.evaluation.report.summary import measured_rows
from lit_mmembed.evaluation.report.table import Table
from lit_mmembed.evaluation.report.tables import score_tables


@dataclass(frozen=True)
class Content:
    """The report before it takes a form."""

    name: str
    styles: Mapping[str, int]
    """Model -> its colour and dash, in the order of the tables. A known model has the same in every report."""
    headline: Headline
    scores: Sequence[Table]
    differences: Sequence[Table]
    panels: Sequence[Panel]
    mining: Sequence[Table]
    gallery: Gallery | None
    provenance: Provenance
    missing: Sequence[str]
    """What the run folder has not, in words."""


def content_of(run: Run) -> Content:
    """Gather the report of a run."""
    rows = measured_rows(run)
    trained = {stage.system for stage in run.of_command("fit")}
    models = list(dict.fromkeys(system.model for system in sorted({*run.systems, *trained}, key=table_order)))
    known = list(dict.fromkeys((*MODELS, *models)))
    styles = {model: known.index(model) for model in models}
    content = Content(
        name=run.name,
        styles=styles,
        headline=headline_of(run, rows, styles),
        scores=[*study_tables(run, rows), *reranking_tables(run), *score_tables(run, rows)],
        differences=difference_tables(run, rows),
        panels=panels_of(run),
        mining=mining_tables(run, rows),
        gallery=gallery_of(run, Pictures()),
        provenance=provenance_of(run),
        missing=(),
    )
    return Content(**{**vars(content), "missing": _missing(run, content)})


def _missing(run: Run, content: Content) -> list[str]:
    lacks = {
        "no local pools were searched": not any(score.pool == "local" for e in run.evaluations for score in e.scores),
        "one system only: nothing to compare": not content.differences,
        "no training log": not content.panels,
        "no mining statistics": not content.mining,
        "no gallery: the rankings or the data they were searched in are not there": content.gallery is None,
    }
    words = [word for word, lacking in lacks.items() if lacking]
    return words + [f"not finished: {place}" for place in run.unfinished]
