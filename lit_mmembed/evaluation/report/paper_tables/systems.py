"""The paper's systems by the labels of our stages, and our numbers on text sets as the paper averages them."""

from __future__ import annotations

from collections.abc import Sequence

from lit_mmembed.evaluation.mteb.names import MTEB15
from lit_mmembed.evaluation.report.collect import Run
from lit_mmembed.evaluation.report.paper import paper_table, place_of
from lit_mmembed.evaluation.report.paper_tables.layout import PaperCell
from lit_mmembed.evaluation.report.paper_tables.sources import Found, Ours, Wanted
from lit_mmembed.evaluation.report.stage import TEXTS
from lit_mmembed.evaluation.report.summary import TEXT_K, TEXT_METRIC, Summary

MM_EMBED = "MM-Embed"
TEST, VAL = "test", "val"
LOCAL_POOL = "local"
MTEB_MEAN = "avg_mteb15"
OWN_MEANS = ("avg_all", "avg_local")
"""The mean over text sets of a data directory, by `mmembed evaluate --data` and by `--mteb local`."""
NAME_IN_MTEB = {paper: name for name, paper in MTEB15.items()}


OTHER_TEXTS = "The text sets are not MTEB's: only the paper's mean stands beside ours (≈), and no difference is shown."


def wanted(name: str, *, splits: Sequence[str] = (TEST,), kind: str = "main") -> Wanted:
    """Which evaluations a system of the paper is, such as "M_hard NV-Embed" or "MM-Embed"."""
    if name == MM_EMBED:
        return Wanted((MM_EMBED, "continual"), "NV-Embed", kind, splits=tuple(splits))
    model, _, encoder = name.partition(" ")
    return Wanted((model,), encoder.removesuffix("-v1"), kind, splits=tuple(splits))


def has_texts(run: Run) -> bool:
    """Whether a run folder has evaluations on text sets."""
    return any(evaluation.stage.kind == TEXTS for evaluation in run.everything)


def mean_of_texts(found: Found, paper: float | None) -> PaperCell:
    """nDCG@10, mean over MTEB's 15 sets, or over the sets of another collection."""
    ours = found.ours(LOCAL_POOL, TEXT_METRIC, TEXT_K, MTEB_MEAN)
    if ours is not None:
        return PaperCell(ours, paper)
    return PaperCell(own_mean(found), paper, "" if own_mean(found) is None else "mean of MTEB's 15 sets")


def own_mean(found: Found) -> Ours | None:
    """The mean over text sets of another collection."""
    means = (found.ours(LOCAL_POOL, TEXT_METRIC, TEXT_K, name) for name in OWN_MEANS)
    return next((mean for mean in means if mean is not None), None)


def mean_of_beir(found: Found) -> Ours | None:
    """nDCG@10, mean over the seven sets of Table 6; None where one of them lacks."""
    names = [NAME_IN_MTEB[name] for name in paper_table(6)["beir_sets"]]
    parts = [found.ours(LOCAL_POOL, TEXT_METRIC, TEXT_K, name) for name in names]
    known = [part for part in parts if part is not None]
    seeds = set.intersection(*(set(part.summary.values) for part in known)) if known else set()
    if len(known) < len(parts) or not seeds:
        return None
    values = {seed: sum(part.summary.values[seed] for part in known) / len(known) for seed in sorted(seeds)}
    return Ours(Summary(values), tuple(dict.fromkeys(place for part in known for place in part.places)))


def figure(number: int, row: str, column: str) -> float | None:
    """A figure of the paper by its row and column; None where it has none."""
    table = paper_table(number)
    place = place_of(table["columns"], column)
    figures: list[float | None] | None = table["rows"].get(row)
    return None if place is None or figures is None else figures[place]
