"""`mmembed compare`: two or more systems on the same queries, over one or several seeds.

Nothing heavy is imported before `compare_runs` is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lit_mmembed.errors import InputError

if TYPE_CHECKING:
    from lit_mmembed.evaluation.comparison.measuring import Comparison

PAGE, MARKDOWN, TABLE, NUMBERS = "index.html", "comparison.md", "comparison.csv", "comparison.json"
SAMPLES = 10_000
POOLS = ("global", "local")


def compare_runs(
    runs: Sequence[str | Path],
    *,
    data: str | Path | None = None,
    pool: str = "global",
    metric: str | None = None,
    k: int | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare systems by their evaluations: the first is the base.

    Args:
        runs: `[NAME=]FOLDER[,FOLDER...]` each: evaluations (what `mmembed evaluate --model --out` made) or run folders.
            Several folders are the seeds of one system.
        data: The data directory, where the runs do not say where it is.
        pool: "global" or "local": which ranking.
        metric: "hit" (the default), "recall", "ndcg", "map", "mrr" or "modality_accuracy".
        k: Its cut-off; None for each task's own.
        samples: Draws of the intervals and of p.
        seed: Of the draws.

    Raises:
        InputError: fewer than two systems, a folder that is no evaluation, other data, split or queries.
    """
    from lit_mmembed.evaluation.comparison.judging import measures_of, read_judgements, values_of
    from lit_mmembed.evaluation.comparison.measuring import Comparison, differences_of
    from lit_mmembed.evaluation.comparison.runs import read_groups
    from lit_mmembed.evaluation.comparison.statistics import Draws
    from lit_mmembed.evaluation.comparison.systems import data_of, pair_up

    if samples < 1:
        raise InputError(f"{samples} samples are too few", fix=f"give at least 1, such as {SAMPLES}")
    measures, draws = measures_of(metric, k), Draws(samples, seed)
    pairing = pair_up(read_groups([str(run) for run in runs], pool))
    directory = data_of(pairing, None if data is None else Path(data))
    judgements = read_judgements(directory, pairing.evaluations[0].split or "test")
    judged = values_of(pairing.evaluations, judgements, measures)
    rows = [differences_of(pair, judgements, judged, measures=measures, draws=draws) for pair in pairing.pairs]
    return Comparison(pairing, judgements, judged, measures, rows, draws, pool)


def write_comparison(comparison: Comparison, out: str | Path) -> Path:
    """Write OUT/index.html (self-contained), comparison.md, comparison.csv and comparison.json; return the page's path.

    The same rankings give the same bytes.
    """
    from lit_mmembed.evaluation.comparison.content import content_of
    from lit_mmembed.evaluation.comparison.writing import write_csv, write_markdown, write_numbers, write_page

    out, content = Path(out), content_of(comparison)
    write_csv(out / TABLE, comparison)
    write_numbers(out / NUMBERS, comparison, content)
    write_markdown(out / MARKDOWN, content)
    return write_page(out / PAGE, content)
