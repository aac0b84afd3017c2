"""The protocols as a whole: rankings in, scores with and without the reference picture out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.composed import measures
from lit_mmembed.evaluation.composed.measures import Measured
from lit_mmembed.evaluation.composed.queries import ComposedSplit
from lit_mmembed.evaluation.composed.run import ComposedRun
from lit_mmembed.evaluation.composed.submissions import read_submission
from lit_mmembed.files import file_hash
from lit_mmembed.metrics.bootstrap import bootstrap_means, interval
from lit_mmembed.record import run_record
from lit_mmembed.retrieval.ranking import from_pairs, is_parquet, ranking_record, read_ranking
from lit_mmembed.types import Ranking, Score

KEEP, DROP = "keep_reference", "drop_reference"
SUBSET = "subset"
DEPTH = 51
"""Fifty documents and the reference."""
MEASURES: dict[str, Callable[[ComposedRun], list[Measured]]] = {
    "circo": measures.circo,
    "cirr": measures.cirr,
    "fashioniq": measures.fashioniq,
}
AVERAGE = "avg_all"
log = logging.getLogger(__name__)


class Runs(NamedTuple):
    """The rankings of a protocol."""

    gallery: ComposedRun
    """As it was searched: the reference may stand in it."""
    subset: ComposedRun | None = None
    """CIRR: over every member of each query's subset; None where that was not ranked."""

    def variants(self) -> dict[str, ComposedRun]:
        """The gallery's ranking with and without the reference."""
        return {KEEP: self.gallery, DROP: self.gallery.without(lambda query: (query.reference,))}


def open_runs(split: ComposedSplit, run: Path, subset: Path | None = None) -> Runs:
    """Read the rankings and check them against the split.

    Args:
        split: The queries and their galleries.
        run: Parquet, TREC, or the protocol's submission file.
        subset: CIRR: a ranking of each query's subset; None takes it from `run` where that reaches so deep.

    Raises:
        InputError: a query is missing, a document is unknown or stands twice, a subset's member is missing.
    """
    gallery = ComposedRun(_ranking(run, split), split.queries, split.galleries, file=run)
    if gallery.depth < DEPTH:
        log.warning("%s: %d documents for a query: the measures at 50 want %d", run, gallery.depth, DEPTH)
    if split.protocol != "cirr":
        return Runs(gallery)
    if subset is None:
        found = gallery.among(lambda query: query.members)
        complete = _missing_member(found) is None
        if not complete:
            log.warning("%s: does not rank the whole subsets, which are left out", run)
        return Runs(gallery, found if complete else None)
    ranked = ComposedRun(read_ranking(subset), split.queries, split.galleries, file=subset)
    members = ranked.among(lambda query: query.members)
    missing = _missing_member(members)
    if missing is not None:
        raise InputError(f"lacks {missing[1]}", file=subset, record=f"query {missing[0]}", fix="rank the whole subset")
    return Runs(gallery, members)


def score_runs(
    split: ComposedSplit,
    runs: Runs,
    *,
    bootstrap: int = 0,
    seed: int = 0,
    record: Mapping[str, Any] | None = None,
) -> list[Score]:
    """Score a protocol's rankings.

    Args:
        split: The queries; their answers must be known.
        runs: Their rankings.
        bootstrap: Resamples for 95 % intervals over queries; 0 for none. Averages over tasks have none.
        seed: Seeds the resamples.
        record: What produced the runs, beside what their files say.

    Returns:
        Scores whose `pool` is "keep_reference" (the ranking as it is), "drop_reference" or, of CIRR, "subset".
    """
    if not split.has_answers:
        problem = f"split {split.split} has no published answers"
        raise InputError(problem, file=split.directory.path, fix="write a --submission, or score --split val")
    what = {
        "protocol": split.protocol,
        "query_text": split.queries[0].query_text,
        "evaluation": {"bootstrap": bootstrap, "seed": seed, "depth": runs.gallery.depth},
        **(record or {}),
    }
    files = {"run_hash": runs.gallery.file, "subset_hash": runs.subset.file if runs.subset else None}
    what |= {name: file_hash(file) for name, file in files.items() if file}
    made_by = {**run_record(), **_record_of(runs.gallery.file), **what, "data_hash": split.directory.hash}
    subset = [] if runs.subset is None else measures.cirr_subset(runs.subset)
    scores = [_score(one, SUBSET, (bootstrap, seed), made_by) for one in subset]
    for pool, run in runs.variants().items():
        measured = MEASURES[split.protocol](run)
        scores += [_score(one, pool, (bootstrap, seed), made_by) for one in measured]
        scores += [
            _mean_score(*mean, pool=pool, record=made_by) for mean in _averages(split.protocol, measured, subset)
        ]
    return scores


def _averages(protocol: str, measured: Sequence[Measured], subset: Sequence[Measured]) -> list[tuple[str, int, list]]:
    """The averages that a protocol's tables print: (metric, k, what is averaged)."""
    at = {k: [one for one in measured if one.metric == measures.TARGET_RECALL and one.k == k] for k in (5, 10, 50)}
    if protocol == "cirr" and subset:
        return [(measures.CIRR_AVERAGE, 0, [*at[5], subset[0]])]
    if protocol != "fashioniq":
        return []
    recall = measures.TARGET_RECALL
    return [(recall, 10, at[10]), (recall, 50, at[50]), (measures.FASHIONIQ_AVERAGE, 0, [*at[10], *at[50]])]


def _score(one: Measured, pool: str, draws: tuple[int, int], record: Mapping[str, Any]) -> Score:
    samples, seed = draws
    low = high = None
    if samples:
        generator = np.random.default_rng([seed, crc32(one.task.encode())])
        ends = interval(bootstrap_means(one.values[:, None], samples, generator))
        low, high = (float(end[0]) for end in ends)
    value = float(one.values.mean())
    return Score(one.metric, one.k, value, len(one.values), one.task, one.dataset, pool, low, high, record)


def _mean_score(metric: str, k: int, parts: list[Measured], *, pool: str, record: Mapping[str, Any]) -> Score:
    """A plain mean over tasks or metrics."""
    names = list(dict.fromkeys(part.task for part in parts))
    dataset = parts[0].dataset.partition("-")[0] if len(names) > 1 else parts[0].dataset
    n = sum({part.task: len(part.values) for part in parts}.values())
    value = float(np.mean([part.values.mean() for part in parts]))
    return Score(metric, k, value, n, AVERAGE if len(names) > 1 else names[0], dataset, pool, record=record)


def _missing_member(run: ComposedRun) -> tuple[str, str] | None:
    """A query whose subset is not all ranked, and a member that lacks."""
    for place in range(len(run.owner)):
        query = run.query_of(place)
        absent = set(query.members) - set(run.documents(place))
        if absent:
            return query.id, min(absent)
    return None


def _ranking(path: Path, split: ComposedSplit) -> Ranking:
    if is_parquet(path) or not _is_submission(path):
        return read_ranking(path)
    best = read_submission(path, split)
    pairs = [(qid, did, -rank) for qid, dids in best.items() for rank, did in enumerate(dids, start=1)]
    qids, dids, scores = zip(*pairs, strict=True)
    return from_pairs(list(qids), list(dids), list(scores))


def _is_submission(path: Path) -> bool:
    with path.open("rb") as stream:
        begin = stream.read(64).lstrip()
    return begin.startswith((b"{", b"[", b"PK"))


def _record_of(file: Path | None) -> dict[str, Any]:
    return {} if file is None else ranking_record(file)
