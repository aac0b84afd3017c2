"""Questions and the passages that answer them: two columns, lists of two, or SQuAD's own nested JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lit_mmembed.data.sources.texts.rows import Asked, Columns, LeftOut, as_record, by_content, text_in, texts_in
from lit_mmembed.data.sources.texts.triplets import from_list
from lit_mmembed.errors import InputError

ROLES = ("query", "positive")
NAMES = (
    ("question", "context"),
    ("question", "answer"),
    ("query", "passage"),
    ("title", "body"),
    ("anchor", "positive"),
)
"""Columns that are known without being named; SQuAD has `question` and `context`."""


def parse(content: Any, columns: Columns) -> Asked | LeftOut:
    """Read one row."""
    if isinstance(content, list):
        if len(content) != 2:
            raise InputError(f"is a list of {len(content)}", fix='write ["question", "passage"]; more is `triplets`')
        return from_list(content)
    record = as_record(content)
    if _unanswerable(record):
        return LeftOut("questions without an answer")
    query, positive = _columns(record, columns)
    texts = texts_in(record, positive)
    if not texts:
        raise InputError(f"lacks {positive}", fix=f"give it {positive}, or remove the row")
    return Asked(None, text_in(record, query), by_content(texts))


def _columns(record: Mapping[str, Any], columns: Columns) -> tuple[str, str]:
    known = [pair for pair in NAMES if all(name in record for name in pair)]
    if not known and not columns:
        fix = f"it has {', '.join(sorted(record)) or 'nothing'}; name its columns: query=..., positive=..."
        raise InputError("has no pair of columns that is known", fix=fix)
    query, positive = known[0] if known else ("query", "positive")
    return columns.get("query", (query,))[0], columns.get("positive", (positive,))[0]


def _unanswerable(record: Mapping[str, Any]) -> bool:
    """SQuAD 2.0 marks them; the Parquet mirrors of it have an empty list of answers."""
    answers = record.get("answers")
    return record.get("is_impossible") is True or (isinstance(answers, dict) and answers.get("text") == [])
