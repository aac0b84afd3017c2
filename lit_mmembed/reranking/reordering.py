"""From answers to a ranking: the documents that were asked about by their score, the others below in their order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_file
from lit_mmembed.reranking.fusion import Fusion
from lit_mmembed.reranking.journal import Answered
from lit_mmembed.reranking.prompts import FALLBACKS
from lit_mmembed.reranking.scorer import probability
from lit_mmembed.retrieval.ranking import METADATA_KEY
from lit_mmembed.types import Ranking


def reordered(ranking: Ranking, answers: Sequence[Answered], fusion: Fusion | None) -> Ranking:
    """Return the ranking with the first documents of each query in the order of their new scores.

    Those that were asked about are ordered by their margin, or by the fused score, ties by their rank in the retrieval.
    Scores: P(True), or the fused score; minus the rank of the others, which thus keep their order below all of them.
    Equal scores (P(True) is 1 in float32 for every margin above 17) are told apart by the next smaller float32, as
    whoever reads the ranking orders it by them. A query without answers keeps the scores of the retrieval.
    """
    document = ranking.document.copy()
    score = ranking.score.astype(np.float32)
    for place, answered in enumerate(answers):
        if not len(answered.margins):
            continue
        first, end = (int(edge) for edge in ranking.offsets[place : place + 2])
        asked = slice(first, first + len(answered.margins))
        order, new = best_first(ranking.score[asked], answered.margins, fusion)
        document[asked] = ranking.document[asked][order]
        score[asked] = strictly_falling(new)
        score[asked.stop : end] = -np.arange(len(answered.margins) + 1, end - first + 1, dtype=np.float32)
    return Ranking(ranking.query_ids, ranking.document_ids, document, score, ranking.offsets)


def best_first(retrieval: np.ndarray, margins: np.ndarray, fusion: Fusion | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the order [documents] int64 of one query's documents, and their scores [documents] float32 in it."""
    if fusion is None:
        order = np.argsort(-margins, kind="stable")
        return order, probability(margins[order])
    scores = fusion.scores(retrieval, margins)
    order = np.argsort(-scores, kind="stable")
    return order, scores[order]


def strictly_falling(scores: np.ndarray) -> np.ndarray:
    """Return scores [n] that fall from each to the next, as near to given ones, which never rise, as float32 has."""
    falling = np.asarray(scores, dtype=np.float32).copy()
    for place in range(1, len(falling)):
        if falling[place] >= falling[place - 1]:
            falling[place] = np.nextafter(falling[place - 1], np.float32(-np.inf))
    return falling


def answers_path(out: Path) -> Path:
    """Return where the answers to a ranking lie: OUT.answers.parquet beside OUT.parquet."""
    return out.with_name(f"{out.stem}.answers.parquet")


def answers_metadata(path: Path) -> dict[str, Any]:
    """Return the run record of a file of answers; empty where it has none.

    Raises:
        InputError: it is no Parquet file.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
        found: dict[str, Any] = json.loads(metadata.get(METADATA_KEY, b"{}"))
    except (pa.ArrowException, ValueError) as broken:
        fix = "name OUT.answers.parquet of `mmembed rerank`"
        raise InputError(f"is not a file of answers: {broken}", file=path, fix=fix) from None
    return found


def write_answers(path: Path, ranking: Ranking, answers: Sequence[Answered], record: Mapping[str, Any]) -> None:
    """Write every answer: qid, did, rank and score of the retrieval, margin, probability, fallback, cut."""
    counts = [len(answered.margins) for answered in answers]
    rows = np.concatenate(
        [np.arange(first, first + n) for first, n in zip(ranking.offsets[:-1], counts, strict=True)] or [np.zeros(0)]
    ).astype(np.int64)
    query = np.repeat(np.arange(len(counts)), counts)
    margin, fallback, cut = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    names = np.array([None, *FALLBACKS], dtype=object)
    table = pa.table(
        {
            "qid": pa.array(ranking.query_ids[query], pa.string()),
            "did": pa.array(ranking.document_ids[ranking.document[rows]], pa.string()),
            "rank": pa.array((rows - ranking.offsets[query] + 1).astype(np.int32)),
            "score": pa.array(ranking.score[rows]),
            "margin": pa.array(margin),
            "probability": pa.array(probability(margin)),
            "fallback": pa.array(names[fallback], pa.string()),
            "cut": pa.array(cut),
        }
    )
    content = json.dumps(record, sort_keys=True, ensure_ascii=False, default=str)
    with atomic_file(path) as partial:
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: content.encode()}), partial, compression="zstd")
