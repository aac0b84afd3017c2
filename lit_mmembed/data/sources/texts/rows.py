"""What a row of a text set says, whatever its form: a question, the passages that answer it, and those that do not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lit_mmembed.data.spelling import check_unicode
from lit_mmembed.errors import InputError

ID_BYTES = 16
"""Of a content id: 65 million texts share one with probability 1e-23."""
SHOWN = 60

Columns = Mapping[str, tuple[str, ...]]
"""Role ("query", "positive", ...) -> the columns that hold it, as the user named them."""


class Passage(NamedTuple):
    """A document, or a mention of one."""

    id: str | None
    """None: its content names it."""
    text: str | None
    """None: it stands elsewhere, in the corpus."""


class Asked(NamedTuple):
    """A query with what the row says about it; several rows may speak of one query."""

    id: str | None
    """None: its content names it."""
    text: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()


class LeftOut(NamedTuple):
    """A row that is right and says nothing to train on; it is counted."""

    reason: str


Parsed = Asked | Passage | LeftOut


def content_key(text: str) -> bytes:
    """Hash a text to ID_BYTES bytes."""
    return hashlib.blake2b(text.encode(), digest_size=ID_BYTES).digest()


def content_id(text: str) -> str:
    """Name a text by its content: the same text is the same document wherever it stands."""
    return content_key(text).hex()


def as_record(content: Any) -> Mapping[str, Any]:
    """Take a row that must be an object with fields."""
    if not isinstance(content, dict):
        raise InputError("is not a JSON object", fix="write one object {...} a line")
    return content


def text_in(record: Mapping[str, Any], field: str) -> str:
    """Take a text that must be there."""
    if record.get(field) is None:
        raise InputError(f"lacks {field}", fix=f"it has {', '.join(sorted(record)) or 'nothing'}; give it {field}")
    return checked_text(record[field], field)


def checked_text(found: Any, field: str) -> str:
    """Take a text without the blanks around it; InputError when it is none, empty, or no Unicode."""
    if not isinstance(found, str):
        raise InputError(f"{field} is not a string", fix=f"correct {field}")
    text = found.strip()
    if not text:
        raise InputError(f"{field} is empty", fix=f"give {field} a text, or remove the row")
    check_unicode(text, field)
    return text


def texts_in(record: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """Take one text or a list of texts; nothing where the field is missing."""
    found = record.get(field)
    if found is None:
        return ()
    listed = [found] if isinstance(found, str) else found
    if not isinstance(listed, list):
        raise InputError(f"{field} is neither a string nor a list of strings", fix=f"correct {field}")
    return tuple(checked_text(text, field) for text in listed)


def id_in(record: Mapping[str, Any], field: str) -> str:
    """Take an id, a string or a whole number."""
    if record.get(field) in (None, ""):
        raise InputError(f"lacks {field}", fix=f"give every record its {field}")
    return checked_id(record[field], field)


def checked_id(found: Any, field: str) -> str:
    """Take an id without blanks in it: qrels keep ids apart by blanks."""
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise InputError(f"{field} is neither a string nor a whole number", fix=f"correct {field}")
    name = str(found)
    if not name or name.split() != [name]:
        raise InputError(f"{field} {name!r} is empty or has a blank in it", fix=f"correct {field}")
    check_unicode(name, field)
    return name


def by_content(texts: Sequence[str]) -> tuple[Passage, ...]:
    """Passages that are named by their content."""
    return tuple(Passage(None, text) for text in texts)


def shortened(text: str) -> str:
    """Quote the beginning of a text, for a message."""
    line = " ".join(text.split())
    return f'"{line}"' if len(line) <= SHOWN else f'"{line[:SHOWN]}..."'
