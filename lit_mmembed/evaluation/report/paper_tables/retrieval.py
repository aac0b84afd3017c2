"""Table 1 (retrieval) and Table 2 (which modality comes first)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lit_mmembed.evaluation.report.paper import paper_table, place_of
from lit_mmembed.evaluation.report.paper_tables.layout import (
    PaperCell,
    PaperColumn,
    PaperLine,
    PaperTable,
    marked_alike,
)
from lit_mmembed.evaluation.report.paper_tables.rows import (
    Rows,
    average_cell,
    average_line,
    beside,
    line_of,
    notes_of,
    rows_of,
    short_of,
)
from lit_mmembed.evaluation.report.paper_tables.sources import Found, Library, Ours
from lit_mmembed.evaluation.report.paper_tables.systems import MM_EMBED, OTHER_TEXTS, figure, mean_of_texts, wanted
from lit_mmembed.evaluation.report.stage import TEXTS
from lit_mmembed.evaluation.report.summary import AVERAGES, Measured, difference
from lit_mmembed.evaluation.report.tables import hit_name

RANDOM = ("CLIP_SF", "LLaVA-E", "LLaVA-P", "NV-Embed")
HARD = ("CLIP_SF", "LLaVA-P", "NV-Embed")
COLUMNS = (*(PaperColumn("M_rand", name) for name in RANDOM), *(PaperColumn("M_hard", name) for name in HARD))
HEADLINE = ("global", "headline", None)
MTEB_ROW = "mteb"
MEASURES = {
    "hit@1": ("R@1", ("global", "hit", 1)),
    "hit@5": ("R@5", ("global", "hit", 5)),
    "modality_accuracy@1": ("M.A.@1", ("global", "modality_accuracy", 1)),
}
ON_MSCOCO = (1, 4)
"""The task numbers of Table 2, which has them on MSCOCO alone."""


def main_results(library: Library) -> PaperTable:
    """Table 1."""
    columns = (*COLUMNS, PaperColumn("", MM_EMBED))
    found = {column: library.find(wanted(column.key)) for column in columns}
    texts = {column: library.find(wanted(column.key, splits=(), kind=TEXTS)) for column in columns}
    table = paper_table(1)
    rows = rows_of(placed for one in found.values() for placed in one.placed)
    lines = [line_of(row, [_cell(one, row, column) for column, one in found.items()]) for row in rows.rows]
    lines += [
        average_line(name, [_average(one, rows, name, column) for column, one in found.items()]) for name in AVERAGES
    ]
    cells = marked_alike([mean_of_texts(one, figure(1, MTEB_ROW, column.key)) for column, one in texts.items()])
    label = "text sets" if any(cell.stands_for for cell in cells) else "MTEB text retrieval"
    lines.append(PaperLine(MTEB_ROW, label, "nDCG@10", cells, is_average=True))
    what = f"{hit_name(rows.rows)} over the global pool, percent; on text sets nDCG@10, each over its own passages."
    notes = [*notes_of(rows), *short_of(rows)]
    if any(cell.stands_for for cell in cells):
        notes.append(OTHER_TEXTS)
    return PaperTable(1, table["title"], what, columns, lines, notes, blocks=[_hard_minus_random(lines, columns, 1)])


def modalities(library: Library) -> PaperTable:
    """Table 2."""
    found = {column: library.find(wanted(column.key)) for column in COLUMNS}
    rows = rows_of((placed for one in found.values() for placed in one.placed), ON_MSCOCO)
    table = paper_table(2)
    shown = [row for row in rows.rows if not rows.are_mbeir or row.name in table["rows"]]
    lines = []
    for row in shown:
        for name, (label, _) in MEASURES.items():
            cells = [_of_mscoco(one, row, name, column) for column, one in found.items()]
            line = line_of(row, cells)
            lines.append(line._replace(key=f"{row.name} {name}", label=f"{line.label}: {label}"))
    what = (
        "Over the global pool, percent: R@k is the share of queries with a relevant document among the first k, "
        "M.A.@1 of those whose first document has the modality asked for."
    )
    shown_rows = Rows(tuple(shown), rows.are_mbeir)
    notes = [*notes_of(shown_rows), *short_of(shown_rows)]
    title = table["title"] if rows.are_mbeir else f"{table['title']}: here tasks 1 and 4 of another benchmark"
    return PaperTable(2, title, what, COLUMNS, lines, notes, blocks=[_hard_minus_random(lines, COLUMNS, 2)])


def _cell(found: Found, row: Measured, column: PaperColumn) -> PaperCell:
    table = paper_table(1)
    place = place_of(table["columns"], column.key)
    figures: Mapping[str, Sequence[float]] = table["rows"]
    paper, stands_for = beside(row, figures, place) if place is not None else (None, "")
    return PaperCell(found.ours(*HEADLINE, row.name), paper, stands_for)


def _average(found: Found, rows: Rows, name: str, column: PaperColumn) -> PaperCell:
    ours = found.ours(*HEADLINE, name)
    return average_cell(found, rows, name, paper=figure(1, name, column.key), ours=ours)


def _of_mscoco(found: Found, row: Measured, name: str, column: PaperColumn) -> PaperCell:
    table = paper_table(2)
    figures = {task: measures[name] for task, measures in table["rows"].items()}
    place = place_of(table["columns"], column.key)
    paper, stands_for = beside(row, figures, place) if place is not None else (None, "")
    return PaperCell(found.ours(*MEASURES[name][1], row.name), paper, stands_for)


def _hard_minus_random(lines: Sequence[PaperLine], columns: Sequence[PaperColumn], number: int) -> PaperTable:
    """What mining changed, which can be compared in direction also between benchmarks: seed by seed."""
    place = {column.key: number for number, column in enumerate(columns)}
    pairs = [(place[f"M_hard {name}"], place[f"M_rand {name}"]) for name in HARD]
    shown = [
        line._replace(cells=[_gap(line.cells[hard], line.cells[random]) for hard, random in pairs]) for line in lines
    ]
    shown = [line for line in shown if any(cell.ours for cell in line.cells)]
    heads = [PaperColumn("M_hard − M_rand", name) for name in HARD]
    what = "Percentage points, over the seeds that both have; beside them the paper's difference."
    return PaperTable(number, "M_hard − M_rand", what, heads, shown, is_of_differences=True)


def _gap(hard: PaperCell, random: PaperCell) -> PaperCell:
    paper = None if hard.paper is None or random.paper is None else hard.paper - random.paper
    if hard.ours is None or random.ours is None:
        return PaperCell(None, paper, hard.stands_for)
    summary = difference(hard.ours.summary, random.ours.summary)
    ours = None if summary is None else Ours(summary, (*hard.ours.places, *random.ours.places))
    return PaperCell(ours, paper, hard.stands_for)
