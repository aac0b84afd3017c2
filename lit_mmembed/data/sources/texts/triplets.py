"""Rows of (anchor, positive, negative, ...) as sentence-transformers and FlagEmbedding keep them.

An object with `anchor` or `query`, `positive` or `pos`, and `negative`, `neg` or `negative_1`, `negative_2`, ...; or a
list ["query", "positive", "negative", ...].
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lit_mmembed.data.sources.texts.rows import Asked, Columns, as_record, by_content, checked_text, text_in, texts_in
from lit_mmembed.errors import InputError

ROLES = ("query", "positive", "negative")
QUERY = ("anchor", "query")
POSITIVE = ("positive", "pos")
NEGATIVE = re.compile(r"negative(_\d+)?|neg")


def parse(content: Any, columns: Columns) -> Asked:
    """Read one row."""
    if isinstance(content, list):
        return from_list(content)
    record = as_record(content)
    query = text_in(record, columns["query"][0] if "query" in columns else _first(record, QUERY))
    positive = columns.get("positive") or (_first(record, POSITIVE),)
    negative = columns.get("negative") or tuple(sorted(name for name in record if NEGATIVE.fullmatch(name)))
    texts = _all(record, positive)
    if not texts:
        raise InputError("has no positive", fix=f"give it {' or '.join(positive)}, or remove the row")
    return Asked(None, query, by_content(texts), by_content(_all(record, negative)))


def from_list(row: Sequence[Any]) -> Asked:
    """Read ["query", "positive", "negative", ...]."""
    if len(row) < 2:
        raise InputError(f"is a list of {len(row)}", fix='write ["query", "positive"] or more')
    query, positive, *negatives = (checked_text(text, f"text {place}") for place, text in enumerate(row, start=1))
    return Asked(None, query, by_content([positive]), by_content(negatives))


def _first(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of the names that the record has."""
    return next((name for name in names if name in record), " or ".join(names))


def _all(record: Mapping[str, Any], fields: Sequence[str]) -> list[str]:
    return [text for field in fields for text in texts_in(record, field)]
