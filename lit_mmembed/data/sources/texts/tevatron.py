"""Tevatron's training rows, in the old form (passages inside) and in the new one (ids of a corpus).

Old: {"query_id", "query", "positive_passages": [{"docid", "title", "text"}], "negative_passages": [...]};
new: {"query_id", "query_text", "positive_document_ids": [...], "negative_document_ids": [...]} and a corpus of
{"docid", "text"}, with or without "title".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lit_mmembed.data.sources.texts.rows import (
    Asked,
    Columns,
    Passage,
    as_record,
    checked_id,
    checked_text,
    id_in,
    text_in,
)
from lit_mmembed.errors import InputError

OTHER_MEDIA = ("image", "audio", "video")


def parse(content: Any, columns: Columns) -> Asked:
    """Read a training row."""
    record = as_record(content)
    _refuse_media(record, "query_")
    qid = id_in(record, "query_id")
    text = text_in(record, "query" if "query" in record else "query_text")
    positives = _mentions(record, "positive")
    if not positives:
        raise InputError("has no positive", fix="give it a positive, or remove the row", record=qid)
    return Asked(qid, text, positives, _mentions(record, "negative"))


def parse_corpus(content: Any, columns: Columns) -> Passage:
    """Read a line of the corpus."""
    record = as_record(content)
    _refuse_media(record, "")
    return _passage(record)


def _mentions(record: Mapping[str, Any], side: str) -> tuple[Passage, ...]:
    passages, ids = f"{side}_passages", f"{side}_document_ids"
    if record.get(passages) is not None:
        return tuple(_passage(as_record(passage)) for passage in _listed(record, passages))
    if record.get(ids) is not None:
        return tuple(Passage(checked_id(did, ids), None) for did in _listed(record, ids))
    if side == "positive":
        raise InputError(f"lacks {passages} and {ids}", fix="give either", record=str(record.get("query_id")))
    return ()


def _listed(record: Mapping[str, Any], field: str) -> list[Any]:
    found = record[field]
    if not isinstance(found, list):
        raise InputError(f"{field} is not a list", fix=f"correct {field}")
    return found


def _passage(record: Mapping[str, Any]) -> Passage:
    """Title and text, joined as BEIR joins them."""
    did = id_in(record, "docid")
    parts = []
    for field in ("title", "text"):
        found = record.get(field)
        if found is not None and not isinstance(found, str):
            raise InputError(f"{field} is not a string", fix=f"correct {field}", record=did)
        parts.append(found or "")
    text = " ".join(parts).strip()
    if not text:
        raise InputError("has neither title nor text", fix="give it a text, or remove it", record=did)
    return Passage(did, checked_text(text, "text"))


def _refuse_media(record: Mapping[str, Any], prefix: str) -> None:
    for medium in OTHER_MEDIA:
        if record.get(f"{prefix}{medium}") not in (None, ""):
            fix = "this source reads texts; write images as a `jsonl` source (docs/data.md)"
            raise InputError(f"has {prefix}{medium}", fix=fix)
