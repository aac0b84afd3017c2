"""Table 5 (instructions), Table 6 (curricula) and Table 9 (text sets)."""

from __future__ import annotations

from lit_mmembed.evaluation.mteb.names import MTEB15
from lit_mmembed.evaluation.report.collect import Run
from lit_mmembed.evaluation.report.paper import paper_table
from lit_mmembed.evaluation.report.paper_tables.layout import (
    PaperCell,
    PaperColumn,
    PaperLine,
    PaperTable,
    marked_alike,
)
from lit_mmembed.evaluation.report.paper_tables.rows import average_cell, beside, line_of, notes_of, rows_of
from lit_mmembed.evaluation.report.paper_tables.sources import Found, Library, Wanted
from lit_mmembed.evaluation.report.paper_tables.systems import (
    LOCAL_POOL,
    MM_EMBED,
    NAME_IN_MTEB,
    OTHER_TEXTS,
    TEST,
    VAL,
    has_texts,
    mean_of_beir,
    mean_of_texts,
    own_mean,
    wanted,
)
from lit_mmembed.evaluation.report.stage import TEXTS
from lit_mmembed.evaluation.report.summary import TEXT_K, TEXT_METRIC
from lit_mmembed.evaluation.report.tables import hit_name

ZERO_SHOT, FINE_TUNED = "zero-shot", "fine-tuned"
WITH, WITHOUT = ("with",), ("without",)
INSTRUCTED = (
    (PaperColumn(ZERO_SHOT, "CLIP"), Wanted((ZERO_SHOT,), "CLIP", instructions=("without", ""))),
    (PaperColumn(ZERO_SHOT, "LLaVA-P"), Wanted((ZERO_SHOT,), "LLaVA-P", instructions=("without", ""))),
    (PaperColumn(ZERO_SHOT, "NV-Embed without"), Wanted((ZERO_SHOT,), "NV-Embed", instructions=WITHOUT)),
    (PaperColumn(ZERO_SHOT, "NV-Embed with"), Wanted((ZERO_SHOT,), "NV-Embed", instructions=WITH)),
    (PaperColumn(FINE_TUNED, "NV-Embed without"), Wanted(("M_rand",), "NV-Embed", instructions=WITHOUT)),
    (PaperColumn(FINE_TUNED, "NV-Embed with"), Wanted(("M_rand",), "NV-Embed", instructions=WITH)),
)
"""The columns of Table 5, in its order, and the evaluations that they are."""
OF_TABLE_5, OF_TABLE_6 = (1, 4, 5), (1, 2, 3, 4, 5)
TEXT_ROWS = {"NV-Embed-v1": f"{ZERO_SHOT} NV-Embed"}
"""The system of a row of Table 9, where it is not the row's own name."""
SINGLE_MODAL = "avg_single_modal"


def instructions(library: Library) -> PaperTable:
    """Table 5, from the run folders that have both, with and without instructions."""
    own = library.limited(_has_both)
    found = [own.find(evaluations._replace(splits=(VAL, TEST, ""))) for _, evaluations in INSTRUCTED]
    rows = rows_of((placed for one in found for placed in one.placed), OF_TABLE_5)
    figures = paper_table(5)["rows"]
    shown = [row for row in rows.rows if not rows.are_mbeir or row.name in figures]
    lines = []
    for row in shown:
        beside_it = [beside(row, figures, place) for place in range(len(found))]
        cells = [
            PaperCell(one.ours(LOCAL_POOL, "headline", None, row.name), *paper)
            for one, paper in zip(found, beside_it, strict=True)
        ]
        lines.append(line_of(row, cells))
    splits = [split for split in dict.fromkeys(one.split for one in found if one.by_seed) if split]
    notes = notes_of(rows)
    if splits and splits != [VAL]:
        notes.append(f"Ours are of the split {' and '.join(splits)}, the paper's of development queries.")
    what = (
        f"{hit_name(shown)} over the local pools (a task's own documents, of the modality asked for), percent; with "
        "and without instructions."
    )
    title: str = paper_table(5)["title"]
    return PaperTable(5, title, what, [column for column, _ in INSTRUCTED], lines, notes)


def curricula(library: Library) -> PaperTable:
    """Table 6, from the run folders that have text sets, if any has."""
    own = library.limited(has_texts)
    table = paper_table(6)
    systems = {model: Wanted((model,), "NV-Embed") for model in table["rows"]}
    main = {model: own.find(system._replace(splits=(TEST,))) for model, system in systems.items()}
    texts = {model: own.find(system._replace(kind=TEXTS)) for model, system in systems.items()}
    rows = rows_of(placed for one in main.values() for placed in one.placed)
    lines = []
    on_texts = [_beir_cell(texts[model], row["figures"][1]) for model, row in table["rows"].items()]
    for (model, row), text_cell in zip(table["rows"].items(), marked_alike(on_texts), strict=True):
        multimodal = row["figures"][0]
        ours = main[model].ours("global", "headline", None, SINGLE_MODAL)
        cells = [
            average_cell(main[model], rows, SINGLE_MODAL, paper=multimodal, ours=ours),
            text_cell,
        ]
        trained = " + ".join(
            name for name, is_in in (("multimodal", row["multimodal"]), ("text", row["text"])) if is_in
        )
        start = row["init"].removesuffix("-v1")
        lines.append(PaperLine(model, f"{model}", f"from {start}, trained on {trained or 'nothing more'}", cells))
    columns = [PaperColumn("", "M-BEIR, tasks 1 to 5" if rows.are_mbeir else "tasks 1 to 5"), PaperColumn("", "BEIR")]
    notes = [
        "The paper trained 2,000 steps each (its MM-Embed of Table 1: 4,500).",
        f"BEIR: {', '.join(table['beir_sets'])}.",
    ]
    notes += notes_of(rows)
    if any(line.cells[1].stands_for for line in lines):
        notes.append(OTHER_TEXTS)
    what = (
        "Mean recall (hit@5, fashion hit@10) of tasks 1 to 5 over the global pool; mean nDCG@10 of text sets; percent."
    )
    return PaperTable(6, table["title"], what, columns, lines, notes)


def text_sets(library: Library) -> PaperTable:
    """Table 9."""
    table = paper_table(9)
    own = library.limited(has_texts)
    found = {name: own.find(wanted(TEXT_ROWS.get(name, name), splits=(), kind=TEXTS)) for name in table["rows"]}
    names = dict.fromkeys(task for one in found.values() for placed in one.placed for task in sorted(placed.tasks))
    is_mteb = not names or any(name in MTEB15 for name in names)
    columns = {paper: NAME_IN_MTEB[paper] for paper in table["columns"][:-1]} if is_mteb else {n: n for n in names}
    means = marked_alike([mean_of_texts(found[name], figures[-1]) for name, figures in table["rows"].items()])
    lines = []
    for (name, figures), mean in zip(table["rows"].items(), means, strict=True):
        of_paper = figures if is_mteb else [*([None] * len(columns)), figures[-1]]
        cells = [
            PaperCell(found[name].ours(LOCAL_POOL, TEXT_METRIC, TEXT_K, task), paper)
            for task, paper in zip(columns.values(), of_paper[:-1], strict=True)
        ]
        cells.append(mean)
        label = name.removesuffix("-v1")
        lines.append(PaperLine(label, label, _detail(name), cells))
    heads = [PaperColumn("", label.partition("_task")[0]) for label in columns]
    notes = [] if is_mteb else [OTHER_TEXTS]
    what = "nDCG@10, each set over its own passages, percent."
    return PaperTable(9, table["title"], what, [*heads, PaperColumn("", "avg")], lines, notes)


def _detail(name: str) -> str:
    if name == MM_EMBED:
        return "continual"
    return "zero-shot" if name in TEXT_ROWS else ""


def _beir_cell(found: Found, paper: float) -> PaperCell:
    ours = mean_of_beir(found)
    if ours is not None:
        return PaperCell(ours, paper)
    other = own_mean(found)
    return PaperCell(other, paper, "" if other is None else "mean of seven BEIR sets")


def _has_both(run: Run) -> bool:
    asked = {evaluation.stage.system.instructions for evaluation in run.everything}
    return {"with", "without"} <= asked
