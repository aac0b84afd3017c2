"""All tables that were asked for, where their numbers come from, and which were not run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lit_mmembed.evaluation.report.paper import paper_source, paper_table
from lit_mmembed.evaluation.report.paper_tables.layout import PaperTable
from lit_mmembed.evaluation.report.paper_tables.reranking import circo, development_queries, multimodal_queries
from lit_mmembed.evaluation.report.paper_tables.retrieval import main_results, modalities
from lit_mmembed.evaluation.report.paper_tables.sources import Library
from lit_mmembed.evaluation.report.paper_tables.studies import curricula, instructions, text_sets
from lit_mmembed.evaluation.report.provenance import facts_of

MAKERS: Mapping[int, Callable[[Library], PaperTable]] = {
    1: main_results,
    2: modalities,
    3: multimodal_queries,
    4: circo,
    5: instructions,
    6: curricula,
    7: development_queries,
    9: text_sets,
}
RECIPE, IN_SMALL = "experiments/paper/table{}.yaml", "experiments/paper/small/table{}.yaml"
REAL_DATA_ONLY = (4,)
"""Tables that EmojiBEIR has no data for: CIRCO."""
SEED = re.compile(r"/seed(\d+)/")


class NotRun(NamedTuple):
    """A table without a number of ours."""

    number: int
    title: str
    commands: Sequence[str]
    """That fill it: on the real data, then in small where that can be."""

    @property
    def words(self) -> str:
        """Both in a sentence."""
        real, *small = self.commands
        return f"nothing of it was run: {real}{f' (in small: {small[0]})' if small else ''}"


class Origin(NamedTuple):
    """Where numbers come from."""

    what: str
    """A column or a row."""
    where: str
    """Run folder, stage and seeds."""


@dataclass(frozen=True)
class Content:
    """The report before it takes a form."""

    source: str
    """The paper."""
    runs: Sequence[str]
    tables: Sequence[PaperTable]
    not_run: Sequence[NotRun]
    origins: Mapping[int, Sequence[Origin]]
    """By the table's number."""
    left_out: Sequence[str]
    """What does not count because run folders differ."""
    facts: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    """Run folder -> what produced its numbers."""


def content_of(library: Library, numbers: Sequence[int]) -> Content:
    """Make the tables."""
    tables = {number: MAKERS[number](library) for number in numbers}
    run = {number: table for number, table in tables.items() if table.is_run}
    missing = [
        NotRun(number, paper_table(number)["title"], _commands(number)) for number in numbers if number not in run
    ]
    return Content(
        source=paper_source(),
        runs=[name for name, _ in library.named],
        tables=list(run.values()),
        not_run=missing,
        origins={number: origins_of(table) for number, table in run.items()},
        left_out=[f"{system}: {words}." for (system, _), words in library.left_out.items()],
        facts=[(name, facts_of(run)) for name, run in library.named],
    )


def origins_of(table: PaperTable) -> list[Origin]:
    """Group the cells by the stages that their numbers are from."""
    groups: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for line in table.lines:
        for column, cell in zip(table.columns, line.cells, strict=True):
            if cell.ours:
                groups.setdefault(cell.ours.places, []).append((column.key, line.label))
    return [Origin(_named(cells), _where(places)) for places, cells in groups.items()]


def _named(cells: Sequence[tuple[str, str]]) -> str:
    """The column or the row that cells have in common, or both."""
    columns, lines = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    if len(lines) == 1:
        return f"{lines[0]}, {', '.join(columns)}" if len(columns) <= 2 else lines[0]
    return ", ".join(columns)


def _where(places: Sequence[str]) -> str:
    """Stages without their seeds' folders, and the seeds."""
    seeds: dict[str, list[str]] = {}
    for place in places:
        found = SEED.search(place)
        seeds.setdefault(SEED.sub("/", place), []).extend([found[1]] if found else [])
    words = {1: "seed"}
    return "; ".join(
        f"{stage} ({words.get(len(numbers), 'seeds')} {', '.join(numbers)})" if numbers else stage
        for stage, numbers in seeds.items()
    )


def _commands(number: int) -> list[str]:
    recipes = (RECIPE,) if number in REAL_DATA_ONLY else (RECIPE, IN_SMALL)
    return [f"mmembed run {recipe.format(number)}" for recipe in recipes]
