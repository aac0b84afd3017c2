"""Tables 3 and 7 (reranking on M-BEIR) and Table 4 (CIRCO): a column for every reranker that was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lit_mmembed.evaluation.report.paper import paper_table
from lit_mmembed.evaluation.report.paper_tables.layout import PaperCell, PaperColumn, PaperLine, PaperTable
from lit_mmembed.evaluation.report.paper_tables.rows import beside, line_of, notes_of, rows_of, short_of
from lit_mmembed.evaluation.report.paper_tables.sources import NOTHING, Found, Library, Ours, Wanted
from lit_mmembed.evaluation.report.paper_tables.systems import MM_EMBED, TEST, VAL, wanted
from lit_mmembed.evaluation.report.rerankers import LIKE_THE_PAPERS, reranker_order
from lit_mmembed.evaluation.report.stage import CIRCO, MAIN, NOT_RERANKED, RERANKED
from lit_mmembed.evaluation.report.summary import Measured
from lit_mmembed.evaluation.report.tables import hit_name

HEADLINE = ("global", "headline", None)
RETRIEVAL, RERANK = "retrieval", "reranked"
RETRIEVERS = ("M_hard NV-Embed", MM_EMBED)
SIZES = ("7B", "34B")
CIRCO_POOLS = ("keep_reference", "drop_reference")
CIRCO_QUERIES = (219, 220)
"""The paper's number of validation queries, and the published file's."""


class Reranked(NamedTuple):
    """A retriever's evaluations: before reranking, and by reranker."""

    retrieval: Found
    by_reranker: Mapping[str, Found]

    @property
    def all(self) -> list[Found]:
        """Both."""
        return [self.retrieval, *self.by_reranker.values()]


def multimodal_queries(library: Library) -> PaperTable:
    """Table 3."""
    found = {name: _of(library, wanted(name, splits=(TEST,), kind=RERANKED)) for name in RETRIEVERS}
    rows = rows_of((placed for one in found.values() for part in one.all for placed in part.placed), (6, 7, 8))
    columns: list[PaperColumn] = []
    cells: list[list[PaperCell]] = []
    for name, one in found.items():
        figures = next(f for key, f in paper_table(3)["retrievers"].items() if key.removesuffix("-v1") == name)
        for label, of, place in _columns(one, sizes=()):
            columns.append(PaperColumn(name, label))
            cells.append([_cell(of, row, figures, place) for row in rows.rows])
    lines = [line_of(row, [column[n] for column in cells]) for n, row in enumerate(rows.rows)]
    what = f"{hit_name(rows.rows)} over the global pool, percent; test queries of tasks 6 to 8, the best 10 reranked."
    return PaperTable(3, _title(3), what, columns, lines, [*notes_of(rows), *short_of(rows)])


def development_queries(library: Library) -> PaperTable:
    """Table 7."""
    one = _of(library, wanted("M_rand CLIP_SF", splits=(VAL,), kind=RERANKED))
    rows = rows_of(placed for part in one.all for placed in part.placed)
    figures = paper_table(7)["rows"]
    shown = _columns(one, sizes=SIZES)
    lines = [line_of(row, [_cell(of, row, figures, place) for _, of, place in shown]) for row in rows.rows]
    columns = [PaperColumn("", label) for label, _, _ in shown]
    what = f"{hit_name(rows.rows)} over the global pool, percent; development queries (val), the best 10 reranked."
    return PaperTable(7, _title(7), what, columns, lines, notes_of(rows))


def circo(library: Library) -> PaperTable:
    """Table 4."""
    figures: Mapping[str, Sequence[float]] = paper_table(4)["rows"]
    names = [name.removesuffix("-v1") for name in figures]
    found = {name: _of(library, wanted(name, splits=(VAL, ""), kind=CIRCO)) for name in names}
    rerankers = sorted({label for one in found.values() for label in one.by_reranker}, key=reranker_order)
    alike = next((label for label in rerankers if label in LIKE_THE_PAPERS), RERANK)
    labels = [RETRIEVAL, alike, *(label for label in rerankers if label != alike)]
    pool = next(
        (p for p in CIRCO_POOLS if any(_circo(f, p) for one in found.values() for f in one.all)), CIRCO_POOLS[0]
    )
    lines = []
    for name, (retrieved, reranked) in zip(names, figures.values(), strict=True):
        one = found[name]
        cells = [_circo_cell(one.retrieval, pool, retrieved), _circo_cell(one.by_reranker.get(alike), pool, reranked)]
        cells += [_circo_cell(one.by_reranker.get(label), pool, None) for label in labels[2:]]
        lines.append(PaperLine(name, name, "", cells))
    kept = "may stand" if pool == CIRCO_POOLS[0] else "does not stand"
    notes = [
        f"The query's own picture {kept} in the ranking; the paper does not say. MagicLens and E5-V are the paper's."
    ]
    if any(cell.stands_for for line in lines for cell in line.cells):
        notes.append("These are not CIRCO's validation queries: ≈ marks the paper's, and no difference is shown.")
    columns = [PaperColumn("", label) for label in labels]
    return PaperTable(4, _title(4), "mAP@5, percent; validation queries.", columns, lines, notes)


def _of(library: Library, retriever: Wanted) -> Reranked:
    """A retriever's evaluations; outside CIRCO, a ranking that nothing reranked is not of these tables."""
    names = [name for name in library.rerankers(retriever) if name != NOT_RERANKED]
    by_reranker = {name: library.find(retriever._replace(reranker=name)) for name in sorted(names, key=reranker_order)}
    retrieval = library.find(retriever._replace(reranker=NOT_RERANKED))
    if not retrieval.by_seed and retriever.kind == CIRCO:
        retrieval = library.find(retriever)
    elif not retrieval.by_seed and by_reranker:
        retrieval = library.find(retriever._replace(kind=MAIN))
    return Reranked(retrieval, by_reranker)


def _columns(one: Reranked, sizes: Sequence[str]) -> list[tuple[str, Found, int | None]]:
    """Label, evaluations and the place of the paper's figure: its own columns first, then what else was run."""
    if sizes:
        named = [(size, one.by_reranker.get(size, NOTHING), place) for place, size in enumerate(sizes, start=1)]
    else:
        alike = next((label for label in one.by_reranker if label in LIKE_THE_PAPERS), RERANK)
        named = [(alike, one.by_reranker.get(alike, NOTHING), 1)]
    shown = {label for label, _, _ in named}
    others = [(label, found, None) for label, found in one.by_reranker.items() if label not in shown]
    return [(RETRIEVAL, one.retrieval, 0), *named, *others]


def _cell(found: Found, row: Measured, figures: Mapping[str, Sequence[float]], place: int | None) -> PaperCell:
    paper, stands_for = (None, "") if place is None else beside(row, figures, place)
    return PaperCell(found.ours(*HEADLINE, row.name), paper, stands_for)


def _circo(found: Found, pool: str) -> Ours | None:
    return next((ours for task in _circo_tasks(found) if (ours := found.ours(pool, "circo_map", 5, task))), None)


def _circo_tasks(found: Found) -> list[str]:
    return sorted({task for placed in found.placed for task in placed.tasks if ":" not in task})


def _circo_cell(found: Found | None, pool: str, paper: float | None) -> PaperCell:
    ours = None if found is None else _circo(found, pool)
    if found is None or ours is None:
        return PaperCell(None, paper)
    asked = {score.n for placed in found.placed for score in placed.evaluation.scores if score.metric == "circo_map"}
    is_circo = asked <= set(CIRCO_QUERIES)
    return PaperCell(ours, paper, "" if is_circo or paper is None else "CIRCO's validation set")


def _title(number: int) -> str:
    title: str = paper_table(number)["title"]
    return title
