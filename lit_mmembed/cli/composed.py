"""`mmembed evaluate --protocol` and `--expect`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from lit_mmembed.cli.tables import print_notes, print_scores
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.composed.measures import SEMANTIC_MAP
from lit_mmembed.evaluation.composed.protocol import DEPTH, DROP, KEEP, Runs, open_runs, score_runs
from lit_mmembed.evaluation.composed.queries import ComposedSplit
from lit_mmembed.evaluation.composed.submissions import (
    SUBSET_COUNT,
    read_submission,
    top,
    write_cirr,
    write_submission,
)
from lit_mmembed.evaluation.expected import OFF, check, read_expected
from lit_mmembed.evaluation.scores import write_scores
from lit_mmembed.types import Score

FAILED = 1
USUAL = {"circo": "keep", "cirr": "drop", "fashioniq": "keep"}
"""Whether published submissions of a data set keep the reference picture (docs/composed.md)."""
log = logging.getLogger(__name__)


def evaluate_protocol(flags: argparse.Namespace) -> list[Score]:
    """Rank (where no run is given), score with and without the reference, write the submission.

    OUT gets scores.jsonl and, of a model or of stores, the ranking: run.parquet, or run_local.parquet of FashionIQ, and
    run_subset.parquet of CIRR.
    """
    directory = DataDirectory(flags.data)
    split = ComposedSplit(directory, flags.split, flags.protocol)
    if not split.has_answers and not flags.submission:
        problem = f"split {flags.split} has no published answers"
        raise InputError(problem, file=flags.data, fix="name the file of a --submission, or score --split val")
    run, subset = (flags.run, flags.subset_run) if flags.run else _ranked(flags, split)
    runs = open_runs(split, run, subset)
    if flags.submission:
        _submit(flags, split, runs)
    if not split.has_answers:
        return []
    scores = score_runs(split, runs, bootstrap=flags.bootstrap, seed=flags.seed)
    write_scores(flags.out / "scores.jsonl", scores)
    for metrics in ({SEMANTIC_MAP}, {score.metric for score in scores} - {SEMANTIC_MAP}):
        shown = [score for score in scores if score.metric in metrics]
        if shown:
            print_scores(shown)
    return scores


def _ranked(flags: argparse.Namespace, split: ComposedSplit) -> tuple[Path, Path | None]:
    """Embed and search: the gallery (of FashionIQ each category's own) and CIRR's subsets."""
    if not (flags.model or flags.stores):
        raise InputError("--protocol needs --model, --stores or --run", fix="give one of them")
    from lit_mmembed.cli.encoding import embedded, search_globally, search_locally
    from lit_mmembed.evaluation.composed.subset import rank_subsets, subset_identity
    from lit_mmembed.retrieval.pools import is_ranking_of

    flags.depth = max(flags.depth, DEPTH)
    sides = embedded(flags, split.directory)
    if split.protocol == "fashioniq":
        return search_locally(flags, sides, split.directory), None
    run = search_globally(flags, sides)
    if split.protocol == "circo":
        return run, None
    subset = flags.out / "run_subset.parquet"
    if not is_ranking_of(subset, subset_identity(*sides)):
        rank_subsets(*sides, subset, asked=split.queries)
    return run, subset


def _submit(flags: argparse.Namespace, split: ComposedSplit, runs: Runs) -> None:
    """Write the submission, and CIRR's second one beside it, and read them back as the servers would."""
    kept = flags.reference or USUAL[split.protocol]
    path: Path = flags.submission
    write_submission(path, runs.variants()[KEEP if kept == "keep" else DROP], split)
    read_submission(path, split)
    print(f"{path}: {len(split.queries):,} queries, reference picture {'kept' if kept == 'keep' else 'dropped'}")
    if split.protocol != "cirr":
        return
    if runs.subset is None:
        log.warning("no submission for recall_subset: give --subset-run")
        return
    second = path.with_name(f"{path.stem}_subset{path.suffix}")
    write_cirr(second, split.queries, top(runs.subset, SUBSET_COUNT), SUBSET_COUNT)
    read_submission(second, split, SUBSET_COUNT)
    print(f"{second}: the best {SUBSET_COUNT} of each subset")


def print_expectations(expected: str, scores: Sequence[Score]) -> int:
    """Print each known value beside what was found; return 1 where one is off, else 0."""
    from rich.console import Console
    from rich.table import Table

    checked = check(scores, read_expected(expected))
    table = Table("task", "pool", "metric", "expected", "found", "difference", "tolerance", "")
    for row in checked:
        if row.found is None and row.verdict not in OFF:
            continue
        wanted = row.expected
        metric = f"{wanted.metric}@{wanted.k}" if wanted.k else wanted.metric
        found = ("", "") if row.found is None else (f"{row.found:.4f}", f"{row.found - wanted.value:+.4f}")
        table.add_row(
            wanted.task, wanted.pool, metric, f"{wanted.value:.4f}", *found, f"{wanted.tolerance:g}", row.verdict
        )
    Console(width=120).print(table)
    counts = {
        verdict: sum(row.verdict == verdict for row in checked) for verdict in dict.fromkeys(r.verdict for r in checked)
    }
    sources = sorted({row.expected.source for row in checked if row.expected.source})
    print_notes([", ".join(f"{count} {verdict}" for verdict, count in counts.items()), *sources])
    return FAILED if any(row.verdict in OFF for row in checked) else 0
