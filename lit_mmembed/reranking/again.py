"""Answers of an earlier reranking, used again: to choose a weight, to fuse, to join parts; no model is asked twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.errors import InputError
from lit_mmembed.files import content_hash, file_hash
from lit_mmembed.reranking.asking import Asking
from lit_mmembed.reranking.journal import NOTHING, Answered
from lit_mmembed.reranking.prompts import FALLBACKS
from lit_mmembed.reranking.reordering import answers_metadata
from lit_mmembed.reranking.rerank import COUNTS, Reranked, Settings, asking_about, reranked_of, settings_record
from lit_mmembed.retrieval.ranking import read_ranking

FIX = "name OUT.answers.parquet of `mmembed rerank`"
SAME = ("run_hash", "data_hash", "split", "depth", "tasks")
"""What answers and the ranking that is made of them must have in common."""
OWN = frozenset((*COUNTS, "part", "fusion", "answers_hash", "devices"))
"""In what the parts of one reranking differ."""
COLUMNS = ("qid", "did", "margin", "fallback", "cut")


def rerank_again(settings: Settings, answers: Sequence[Path]) -> Reranked:
    """Return what `rerank` returned when it wrote these answers, or would have returned for all parts at once.

    Args:
        settings: Of the ranking, data, split, depth and tasks that were asked about.
        answers: `OUT.answers.parquet` of `mmembed rerank`, or the files of all its parts, in any order.

    Raises:
        InputError: a file is none, or was made of another ranking, data, split or depth, or by another model than the
            first; a query is in two files or in none.
    """
    directory = DataDirectory(settings.data)
    ranking = read_ranking(settings.run)
    wanted = settings_record(settings, directory)
    asking = asking_about(settings, ranking, directory)
    what, found = _joined(asking, answers, wanted)
    in_order = [NOTHING] * len(asking)
    for place in asking.asked:
        qid = str(ranking.query_ids[place])
        if qid not in found:
            fix = "name the files of all parts"
            raise InputError("has no answer", file=answers[-1], record=f"query {qid}", fix=fix)
        in_order[place] = found[qid]
    made = {**what, "part": None, "answers_hash": answers_hash(answers)}
    return reranked_of(settings, asking, in_order, directory, what=made, journal=None)


def answers_record(settings: Mapping[str, Any], answers: Sequence[Path]) -> dict[str, Any]:
    """Return what tells apart a ranking that is made of these answers: their hash, and `SAME` of `settings_record`."""
    for path in answers:
        if not path.exists():
            raise InputError("does not exist", file=path, fix=FIX)
    return {"answers_hash": answers_hash(answers), **{name: settings[name] for name in SAME}}


def answers_hash(answers: Sequence[Path]) -> str:
    """Return the hash of a file, or of several in any order."""
    hashes = sorted(file_hash(path) for path in answers)
    return hashes[0] if len(hashes) == 1 else content_hash(hashes)


def _joined(
    asking: Asking, answers: Sequence[Path], wanted: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Answered]]:
    """Return what all files have been made by, and the answers of each query."""
    first: dict[str, Any] = {}
    found: dict[str, Answered] = {}
    where: dict[str, Path] = {}
    for path in answers:
        table, record = _read(path)
        _check_same(record, wanted, path)
        what = {name: value for name, value in record.items() if name not in OWN}
        first = first or what
        if differing := [name for name in {**first, **what} if what.get(name) != first.get(name)]:
            problem = f"another {differing[0]} answered than in {answers[0]}"
            raise InputError(problem, file=path, fix="name parts of one reranking")
        for qid, answered in _by_query(table, asking, path):
            if qid in found:
                fix = "name each part once"
                raise InputError(f"is answered in {where[qid]} too", file=path, record=f"query {qid}", fix=fix)
            found[qid], where[qid] = answered, path
    return first, found


def _read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    record = answers_metadata(path)
    columns = set(pq.read_schema(path).names)
    if "reranking" not in record or not columns >= set(COLUMNS):
        raise InputError("is not a file of answers", file=path, fix=FIX)
    return pq.read_table(path, columns=list(COLUMNS)), record["reranking"]


def _check_same(before: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    for name in SAME:
        if json.dumps(before.get(name)) != json.dumps(wanted[name]):
            problem = f"answers about another {name.replace('_hash', '')}: {before.get(name)}, not {wanted[name]}"
            fix = "name the ranking, data, split, k and tasks that it was made of"
            raise InputError(problem, file=path, fix=fix)


def _by_query(table: pa.Table, asking: Asking, path: Path) -> list[tuple[str, Answered]]:
    """Split the rows by query; each must have the best documents of the ranking, in its order."""
    place_of = {str(qid): place for place, qid in enumerate(asking.ranking.query_ids)}
    qids, dids = table["qid"].to_pylist(), table["did"].to_pylist()
    margin = table["margin"].to_numpy().astype(np.float32)
    fallback = np.array([1 + FALLBACKS.index(name) if name else 0 for name in table["fallback"].to_pylist()], np.int8)
    cut = table["cut"].to_numpy(zero_copy_only=False)
    found = []
    first = 0
    while first < len(qids):
        place = place_of.get(qids[first], -1)
        names = [str(asking.ranking.document_ids[code]) for code in asking.documents(place)] if place >= 0 else []
        rows = slice(first, first + len(names))
        if not names or dids[rows] != names or set(qids[rows]) != {qids[first]}:
            fix = "name the ranking that it was made of"
            problem = "has answers about other documents than the ranking's best"
            raise InputError(problem, file=path, record=f"query {qids[first]}", fix=fix)
        found.append((qids[first], Answered(margin[rows], fallback[rows], cut[rows])))
        first = rows.stop
    return found
