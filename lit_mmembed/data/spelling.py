"""What an id or a text may be spelled with, so that shards, qrels and runs can hold it."""

from __future__ import annotations

from lit_mmembed.errors import InputError


def check_id(name: str) -> None:
    """Refuse an id that no file of qrels can name: their columns are parted by white space.

    Raises:
        InputError: white space of any kind in it (also U+00A0), or half a character.
    """
    if name.split() != [name]:
        fix = "write ids without: the columns of qrels and runs are parted by it"
        raise InputError(f"id {name!r} is empty or has white space in it", fix=fix)
    check_unicode(name, "id")


def check_unicode(text: str | None, field: str) -> None:
    """Refuse half a character, as the JSON string "\\ud83d" has it: UTF-8 has no bytes for it.

    Raises:
        InputError: it names the field.
    """
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        raise InputError(f"{field} has half a character (a surrogate)", fix=f"correct {field}") from None


def printable(text: str) -> str:
    """The text with half characters written as escapes, for messages and lists."""
    return text.encode(errors="backslashreplace").decode()
