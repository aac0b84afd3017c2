"""What mining found, per task: how many queries have negatives, where the positives stand, how many negatives may be
positives that nobody labelled."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lit_mmembed.data.labels import CandidateLabels, QueryLabels
from lit_mmembed.mining.rules import Filtered, NegativeRule
from lit_mmembed.mining.table import LabelledRun
from lit_mmembed.retrieval.ids import places_in

COMPARED_QUERIES = 2_000
"""Queries per task, drawn at random, whose negatives are compared with their positives byte by byte."""

PerTask = dict[str, dict[str, Any]]
Contents = Callable[[int], tuple[str | None, bytes | None]]


def mining_statistics(
    run: LabelledRun, negatives: pa.Table, *, depth: int, seed: int = 0, rules: Sequence[NegativeRule] = ()
) -> dict[str, PerTask]:
    """Describe mined negatives.

    Args:
        run: What was mined.
        negatives: What was found.
        depth: How deep a positive counts as retrieved.
        seed: Draws the queries whose contents are compared.
        rules: What was applied; of those that filter, the row says what they removed.

    Returns:
        {"tasks": {task: row}}. A row holds `queries`; the shares of queries `with_either`, `with_KIND` (0 to 1);
        `negatives_per_query`; `positive_in_depth` (share of rankings with a positive in their top `depth`);
        `median_positive_rank` (of the best positive, among rankings that have one; None without);
        `possible_false_negatives` (share of compared negatives whose text or image equals a positive's) and
        `compared_negatives`. For a rule that filters: `KIND_considered` (documents per ranking that its filters looked
        at), `KIND_removed_by_FILTER` (share of these; a document may be removed by several; `no_positive`: for want of
        a positive's score), and the shares of rankings `KIND_without_positive` (no labelled one was retrieved) and
        `KIND_without_survivor`.
    """
    queries = np.unique(run.query_row)
    content = _per_task(run.queries, run.candidates, negatives, rows=queries, seed=seed)
    best = _best_positive_rank(run)
    filters = {rule.kind: filtered for rule in rules if (filtered := rule.filtered(run.retrieved)) is not None}
    for place, task in enumerate(run.queries.tasks):
        members = run.queries.task[run.query_row] == place
        ranks = best[members]
        if len(ranks):
            for kind, filtered in filters.items():
                content[task.name] |= _removed(kind, filtered, members, np.diff(run.ranking.offsets))
            found = ranks[ranks > 0]
            content[task.name]["positive_in_depth"] = float(((ranks > 0) & (ranks <= depth)).mean())
            content[task.name]["median_positive_rank"] = float(np.median(found)) if len(found) else None
    return {"tasks": content}


def control_statistics(
    queries: QueryLabels, candidates: CandidateLabels, negatives: pa.Table, *, seed: int = 0
) -> dict[str, PerTask]:
    """Describe random negatives: the rows of `mining_statistics` that need no ranking."""
    return {"tasks": _per_task(queries, candidates, negatives, rows=np.arange(len(queries.ids)), seed=seed)}


def _per_task(
    queries: QueryLabels, candidates: CandidateLabels, negatives: pa.Table, *, rows: np.ndarray, seed: int
) -> PerTask:
    kinds = negatives["kind"].combine_chunks().dictionary.to_pylist()
    kind = negatives["kind"].combine_chunks().indices.to_numpy()
    owner = _decode(negatives["qid"], queries.ids)
    document = _decode(negatives["did"], candidates.ids)
    content: PerTask = {}
    for place, task in enumerate(queries.tasks):
        members = rows[queries.task[rows] == place]
        if not len(members):
            continue
        inside = queries.task[owner] == place
        row = {"queries": len(members), "with_either": len(np.unique(owner[inside])) / len(members)}
        for code, name in enumerate(kinds):
            row[f"with_{name}"] = len(np.unique(owner[inside & (kind == code)])) / len(members)
        row["negatives_per_query"] = float(inside.sum() / len(members))
        compared = _drawn(members, np.random.default_rng([seed, place]))
        pairs = inside & np.isin(owner, compared)
        content[task.name] = {**row, **_false_negatives(queries, candidates, (owner[pairs], document[pairs]))}
    return content


def _decode(column: pa.ChunkedArray, ids: np.ndarray) -> np.ndarray:
    """Rows among `ids` of a column of ids."""
    encoded = column.combine_chunks()
    return places_in(encoded.dictionary.to_numpy(zero_copy_only=False), ids)[encoded.indices.to_numpy()]


def _drawn(rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= COMPARED_QUERIES else generator.choice(rows, COMPARED_QUERIES, replace=False)


def _removed(kind: str, filtered: Filtered, members: np.ndarray, lengths: np.ndarray) -> dict[str, Any]:
    """What a rule's filters removed from the rankings `members` [Q] of one task."""
    inside = np.repeat(members, lengths)
    count = int(filtered.considered[inside].sum())
    surviving = np.bincount(np.repeat(np.arange(len(lengths)), lengths)[filtered.survived], minlength=len(lengths))
    shares = {name: float(rows[inside].sum() / count) if count else None for name, rows in filtered.removed.items()}
    return {
        f"{kind}_considered": count / int(members.sum()),
        **{f"{kind}_removed_by_{name}": share for name, share in shares.items()},
        f"{kind}_without_positive": float((~filtered.has_positive[members]).mean()),
        f"{kind}_without_survivor": float((surviving[members] == 0).mean()),
    }


def _best_positive_rank(run: LabelledRun) -> np.ndarray:
    """[Q] rank from 1 of the best positive of each ranking, 0 where it has none."""
    offsets = run.ranking.offsets
    rows = np.flatnonzero(run.is_positive)
    query = np.searchsorted(offsets, rows, side="right") - 1
    best = np.zeros(len(offsets) - 1, dtype=np.int64)
    best[query[::-1]] = (rows - offsets[query] + 1)[::-1]
    return best


def _false_negatives(
    queries: QueryLabels, candidates: CandidateLabels, pairs: tuple[np.ndarray, np.ndarray]
) -> Mapping[str, Any]:
    """The share of (query, negative) pairs whose negative has the text or the image of a positive."""
    rows, owner = np.unique(pairs[0], return_inverse=True)
    listed = [queries.positives(int(row)) for row in rows]
    places = places_in([did for dids in listed for did in dids], candidates.ids)
    fingerprint = _Fingerprints(candidates)
    known: list[set[bytes]] = [set() for _ in rows]
    for query, place in zip(np.repeat(np.arange(len(rows)), [len(dids) for dids in listed]), places, strict=True):
        if place >= 0:
            known[query] |= fingerprint(int(place))
    equal = sum(bool(known[query] & fingerprint(int(row))) for query, row in zip(owner, pairs[1], strict=True))
    count = len(pairs[0])
    return {"possible_false_negatives": equal / count if count else None, "compared_negatives": count}


class _Fingerprints:
    """Hashes of a document's text (blanks and case aside) and image, each read once."""

    def __init__(self, candidates: CandidateLabels) -> None:
        self._content = candidates.content
        self._known: dict[int, frozenset[bytes]] = {}

    def __call__(self, row: int) -> frozenset[bytes]:
        if row not in self._known:
            text, image = self._content(row)
            parts = [b"text" + " ".join(text.casefold().split()).encode()] if text else []
            parts += [b"image" + image] if image else []
            self._known[row] = frozenset(hashlib.blake2b(part, digest_size=16).digest() for part in parts)
        return self._known[row]
