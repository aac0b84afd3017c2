"""Answers of an earlier reranking, used again: to choose a weight or to fuse, no model is asked twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.errors import InputError
from lit_mmembed.files import file_hash
from lit_mmembed.record import run_record
from lit_mmembed.reranking.asking import Asking
from lit_mmembed.reranking.journal import Answered
from lit_mmembed.reranking.prompts import FALLBACKS
from lit_mmembed.reranking.reordering import answers_metadata
from lit_mmembed.reranking.rerank import Reranked, Settings, asking_about, judged, settings_record
from lit_mmembed.retrieval.ranking import ranking_record, read_ranking

FIX = "name OUT.answers.parquet of `mmembed rerank`"
SAME = ("run_hash", "data_hash", "split", "depth", "tasks")
"""What answers and the ranking that is made of them must have in common."""
COLUMNS = ("qid", "did", "margin", "fallback", "cut")


def rerank_again(settings: Settings, answers: Path) -> Reranked:
    """Return what `rerank` returned when it wrote these answers.

    Args:
        settings: Of the ranking, data, split and depth that were asked about.
        answers: `OUT.answers.parquet` of `mmembed rerank`.

    Raises:
        InputError: the file is none, or was made of another ranking, data, split or depth.
    """
    table, record = _read(answers)
    before = record["reranking"]
    directory = DataDirectory(settings.data)
    wanted = settings_record(settings, directory)
    for name in SAME:
        if json.dumps(before.get(name)) != json.dumps(wanted[name]):
            problem = f"answers about another {name.replace('_hash', '')}: {before.get(name)}, not {wanted[name]}"
            raise InputError(
                problem, file=answers, fix="name the ranking, data, split, k and tasks that it was made of"
            )
    ranking = read_ranking(settings.run)
    asking = asking_about(settings, ranking, directory)
    found = _by_query(table, asking, answers)
    reranking = {**before, "answers_hash": file_hash(answers)}
    made = {**run_record(), **ranking_record(settings.run), "reranking": reranking}
    return Reranked(ranking, found, made, judged(asking, found, directory), None)


def answers_record(settings: Mapping[str, Any], answers: Path) -> dict[str, Any]:
    """Return what tells apart a ranking that is made of these answers: their hash, and `SAME` of `settings_record`."""
    if not answers.exists():
        raise InputError("does not exist", file=answers, fix=FIX)
    return {"answers_hash": file_hash(answers), **{name: settings[name] for name in SAME}}


def _read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    record = answers_metadata(path)
    columns = set(pq.read_schema(path).names)
    if "reranking" not in record or not columns >= set(COLUMNS):
        raise InputError("is not a file of answers", file=path, fix=FIX)
    return pq.read_table(path, columns=list(COLUMNS)), record


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
