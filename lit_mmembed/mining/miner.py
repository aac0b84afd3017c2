"""From a run to NEGATIVES.parquet: section 4.1.1's hard negatives, and the control's random ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lit_mmembed.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from lit_mmembed.mining.rules import NegativeRule

KEEP_KINDS = ("wrong_modality",)
"""What the continual stage keeps (section 4.1.2): M_hard has no document of the wrong modality above a positive."""
DEPTH = 50
K_PRIME = 45
PER_QUERY = 50
log = logging.getLogger(__name__)


def mine(
    run: str | Path,
    queries: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    depth: int = DEPTH,
    k_prime: int = K_PRIME,
    seed: int = 0,
    rules: Sequence[NegativeRule] | None = None,
    keep: str | Path | None = None,
    keep_kinds: Sequence[str] = KEEP_KINDS,
    statistics: str | Path | None = None,
) -> None:
    """Mine hard negatives from a run and write NEGATIVES.parquet.

    A run with several wordings of a query (`#w1`, `#w2`, ...) is mined per wording; a document found under several
    is kept once, at its best rank.

    Args:
        run: The ranking (Parquet or TREC) of the queries over one pool.
        queries: M-BEIR's JSONL of the queries, or a shard set.
        candidates: M-BEIR's JSONL of that pool, or a shard set.
        out: NEGATIVES.parquet: qid, did, kind, rank, score, in the run's order of queries, then by kind and rank.
        depth: Documents of a ranking that are looked at (the paper: 50).
        k_prime: Documents of the right modality below this rank are negatives (the paper: 45).
        seed: Draws the queries on which the statistics compare contents; the rules themselves draw nothing.
        rules: Other rules than the paper's two of this `depth` and `k_prime`.
        keep: An older NEGATIVES.parquet of the same data: its rows of `keep_kinds` stay as they are, and those kinds
            are not mined again (section 4.1.2).
        keep_kinds: Which kinds stay; only looked at with `keep`.
        statistics: Where to write mining statistics per task, as JSON.

    Raises:
        InputError: a query or document of the run or of `keep` is unknown; a kept negative is a labelled positive; two
            rules have one kind, or one that is kept.
    """
    from lit_mmembed.data.labels import read_candidates, read_queries
    from lit_mmembed.mining.keeping import read_kept, with_kept
    from lit_mmembed.mining.statistics import mining_statistics
    from lit_mmembed.mining.table import label_run, merge_wordings
    from lit_mmembed.retrieval.ranking import ranking_record, read_ranking

    applied = rules_applied(rules, depth=depth, k_prime=k_prime, kept=keep_kinds if keep else ())
    settings = {"depth": depth, "k_prime": k_prime} if rules is None else {"settings": [r.settings for r in applied]}
    record: dict[str, Any] = {**settings, "seed": seed, "rules": [rule.kind for rule in applied]}
    asked, pool = read_queries(queries), read_candidates(candidates)
    kept = read_kept(keep, keep_kinds, queries=asked, candidates=pool) if keep else None
    labelled = label_run(read_ranking(run), asked, pool, file=Path(run))
    for rule in applied:
        if labelled.longest <= getattr(rule, "k_prime", -1):
            log.warning("%s: no query has more than %d documents; nothing can rank below k'", run, labelled.longest)
    table = merge_wordings(labelled, applied)
    if kept is not None:
        table = with_kept(table, kept, labelled)
        record["kept"] = kept.record
    _finish(out, table, {"mining": record, "ranking": ranking_record(run)})
    if statistics is not None:
        _write_statistics(statistics, mining_statistics(labelled, table, depth=depth, seed=seed, rules=applied))


def rules_applied(
    rules: Sequence[NegativeRule] | None, *, depth: int = DEPTH, k_prime: int = K_PRIME, kept: Sequence[str] = ()
) -> list[NegativeRule]:
    """The rules given, or the paper's two without those whose kind is kept.

    Raises:
        InputError: there is none; two have one kind; one was given whose kind is kept; settings make no sense.
    """
    from lit_mmembed.mining.rules import paper_rules

    applied = list(rules or [rule for rule in paper_rules(k_prime, depth) if rule.kind not in kept])
    kinds = [rule.kind for rule in applied]
    if not kinds:
        raise InputError("nothing is left to mine: every kind is kept", fix="keep fewer kinds, or name other rules")
    for place, kind in enumerate(kinds):
        applied[place].check()
        if kind in kept:
            raise InputError(f"{kind} is mined and kept at once", fix="take it from the rules or from the kinds kept")
        if kind in kinds[:place]:
            raise InputError(f"two rules have the kind {kind}", fix="give every rule its own kind")
    return applied


def random_negatives(
    queries: str | Path,
    candidates: str | Path,
    out: str | Path,
    *,
    per_query: int = PER_QUERY,
    seed: int = 0,
    statistics: str | Path | None = None,
) -> None:
    """Write the control's negatives: documents drawn evenly from the pool, whatever their modality.

    Args:
        queries: M-BEIR's JSONL of the queries, or a shard set.
        candidates: M-BEIR's JSONL of the pool, or a shard set.
        out: NEGATIVES.parquet with kind "random", rank 0 and score 0.
        per_query: Different documents per query; a query's positives are never drawn.
        seed: Seeds the draws; those of a query depend on nothing but it and the query's place in the file.
        statistics: Where to write statistics per task, as JSON.
    """
    from lit_mmembed.data.labels import read_candidates, read_queries
    from lit_mmembed.mining.statistics import control_statistics
    from lit_mmembed.mining.table import draw_random

    asked, pool = read_queries(queries), read_candidates(candidates)
    table = draw_random(asked, pool, per_query, seed)
    _finish(out, table, {"mining": {"rules": ["random"], "per_query": per_query, "seed": seed}})
    if statistics is not None:
        _write_statistics(statistics, control_statistics(asked, pool, table, seed=seed))


def _finish(out: str | Path, table: pa.Table, record: Mapping[str, Any]) -> None:
    from lit_mmembed.mining.table import write_negatives
    from lit_mmembed.record import run_record

    write_negatives(out, table, run_record(**record))


def _write_statistics(path: str | Path, content: Mapping[str, Any]) -> None:
    from lit_mmembed.files import write_json

    write_json(path, content)
