"""Answers of an earlier reranking, used again: to choose a weight or to fuse, no model is asked twice.

Answers of the parts of one reranking, which several processes asked about, are joined here too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.errors import InputError
from lit_mmembed.files import file_hash
from lit_mmembed.record import run_record
from lit_mmembed.reranking.asking import Asking
from lit_mmembed.reranking.counting import COUNTS, counted, judged, warn_of_few
from lit_mmembed.reranking.journal import NOTHING, Answered
from lit_mmembed.reranking.parts import Part, every_part
from lit_mmembed.reranking.prompts import FALLBACKS
from lit_mmembed.reranking.reordering import answers_metadata
from lit_mmembed.reranking.rerank import Reranked, Settings, asking_about, settings_record
from lit_mmembed.retrieval.ranking import ranking_record, read_ranking

FIX = "name OUT.answers.parquet of `mmembed rerank`"
SAME = ("run_hash", "data_hash", "split", "depth", "tasks")
"""What answers and the ranking that is made of them must have in common."""
OF_A_PART = (*COUNTS, "part", "devices")
"""What the records of parts of one reranking need not have in common."""
COLUMNS = ("qid", "did", "margin", "fallback", "cut")


class AnswersFile(NamedTuple):
    """A file of answers."""

    path: Path
    table: pa.Table
    reranking: dict[str, Any]
    """Of its run record."""

    @property
    def part(self) -> Part | None:
        """Which part of the queries it answers; None: all."""
        return Part(*self.reranking["part"]) if "part" in self.reranking else None


def rerank_again(settings: Settings, answers: Path | Sequence[Path]) -> Reranked:
    """Return what `rerank` returned when it wrote these answers.

    Args:
        settings: Of the ranking, data, split and depth that were asked about.
        answers: `OUT.answers.parquet` of `mmembed rerank`, or those of all its parts.

    Raises:
        InputError: a file is none, or was made of another ranking, data, split or depth; or what `joined` says.
    """
    reranked = joined(settings, _listed(answers))
    reranking = {**reranked.record["reranking"], "answers_hash": _hashes(answers)}
    return replace(reranked, record={**reranked.record, "reranking": reranking})


def joined(settings: Settings, paths: Sequence[Path]) -> Reranked:
    """Return what one process returns that asks about all queries.

    Args:
        settings: Of the whole.
        paths: A file of answers about all queries, or those of all parts, in any order.

    Raises:
        InputError: a part lacks or is there twice, or was asked of another model or otherwise than the first.
    """
    directory = DataDirectory(settings.data)
    files = [_read(path) for path in paths]
    for file in files:
        _check_asked_of(file, settings_record(settings, directory))
    _check_parts(files)
    ranking = read_ranking(settings.run)
    asking = asking_about(settings, ranking, directory)
    found = [NOTHING] * len(asking)
    for file in files:
        own = asking_about(replace(settings, part=file.part), ranking, directory) if file.part else asking
        answered = _by_query(file.table, own, file.path)
        for place in own.asked:
            found[place] = answered[place]
    reranking = dict(files[0].reranking)
    if files[0].part:
        warn_of_few(asking, settings.run)
        del reranking["part"]
        reranking |= {**counted(asking, found, directory), "devices": len(files)}
    record = {**run_record(), **ranking_record(settings.run), "reranking": reranking}
    return Reranked(ranking, found, record, judged(asking, found, directory), None)


def answers_record(settings: Mapping[str, Any], answers: Path | Sequence[Path]) -> dict[str, Any]:
    """Return what tells apart a ranking that is made of these answers: their hash, and `SAME` of `settings_record`."""
    for path in _listed(answers):
        if not path.exists():
            raise InputError("does not exist", file=path, fix=FIX)
    return {"answers_hash": _hashes(answers), **{name: settings[name] for name in SAME}}


def _hashes(answers: Path | Sequence[Path]) -> str | list[str]:
    """Return the hash of a file; of several, theirs in an order that does not depend on that of the files."""
    found = sorted(file_hash(path) for path in _listed(answers))
    return found[0] if len(found) == 1 else found


def _listed(answers: Path | Sequence[Path]) -> list[Path]:
    return [answers] if isinstance(answers, Path) else list(answers)


def _read(path: Path) -> AnswersFile:
    record = answers_metadata(path)
    columns = set(pq.read_schema(path).names)
    if "reranking" not in record or not columns >= set(COLUMNS):
        raise InputError("is not a file of answers", file=path, fix=FIX)
    return AnswersFile(path, pq.read_table(path, columns=list(COLUMNS)), record["reranking"])


def _check_asked_of(file: AnswersFile, wanted: Mapping[str, Any]) -> None:
    for name in SAME:
        before = file.reranking.get(name)
        if json.dumps(before) != json.dumps(wanted[name]):
            problem = f"answers about another {name.replace('_hash', '')}: {before}, not {wanted[name]}"
            fix = "name the ranking, data, split, k and tasks that it was made of"
            raise InputError(problem, file=file.path, fix=fix)


def _check_parts(files: Sequence[AnswersFile]) -> None:
    """Refuse several files that are not all parts of one whole, each once."""
    first = files[0]
    if len(files) == 1 and first.part is None:
        return
    fix = "name the answers of all parts of one reranking, each once"
    there: dict[Part, AnswersFile] = {}
    for file in files:
        if file.part is None:
            raise InputError("has the answers of a whole ranking, not of a part", file=file.path, fix="name it alone")
        if first.part is not None and file.part.count != first.part.count:
            raise InputError(f"is {file.part.words}, {first.path.name} is {first.part.words}", file=file.path, fix=fix)
        if file.part in there:
            raise InputError(f"is {file.part.words}, as {there[file.part].path} is", file=file.path, fix=fix)
        there[file.part] = file
        _check_asked_alike(file, first)
    missing = [part.words for part in every_part(next(iter(there)).count) if part not in there]
    if missing:
        problem = f"is {next(iter(there)).words}: the answers of {', '.join(missing)} are missing"
        raise InputError(problem, file=first.path, fix=fix)


def _check_asked_alike(file: AnswersFile, first: AnswersFile) -> None:
    ours, theirs = file.reranking, first.reranking
    for name in sorted({*ours, *theirs} - {*OF_A_PART}):
        if ours.get(name) != theirs.get(name):
            values = (str(one.get(name))[:40] for one in (ours, theirs))
            problem = "was made with another {}: {}, not {}".format(name, *values)
            raise InputError(f"{problem} as {first.path.name}", file=file.path, fix="name parts of one reranking")


def _by_query(table: pa.Table, asking: Asking, path: Path) -> list[Answered]:
    """Split the rows by query; they must be the documents of the ranking, in its order."""
    names = [str(asking.ranking.document_ids[code]) for place in range(len(asking)) for code in asking.documents(place)]
    queries = np.repeat(asking.ranking.query_ids, asking.counts)
    if table["did"].to_pylist() != names or table["qid"].to_pylist() != queries.tolist():
        fix = "name the ranking that it was made of"
        raise InputError("has answers about other documents than the ranking's best", file=path, fix=fix)
    margin = table["margin"].to_numpy().astype(np.float32)
    fallback = np.array([1 + FALLBACKS.index(name) if name else 0 for name in table["fallback"].to_pylist()], np.int8)
    cut = table["cut"].to_numpy(zero_copy_only=False)
    ends = np.cumsum(asking.counts)[:-1]
    parts = (np.split(column, ends) for column in (margin, fallback, cut))
    return [Answered(*row) for row in zip(*parts, strict=True)]
