"""Words that a model keeps for itself: no text may spell the token that stands for an image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lit_mmembed.data.reader import ShardReader
from lit_mmembed.errors import InputError

FIX = "remove it from the text: the prompt puts it where the image goes"


def refuse_spelling(word: str | None, texts: Iterable[str | None], record: str) -> None:
    """Raise where one of a row's texts spells the word."""
    for text in texts:
        if word and text and word in text:
            raise InputError(f"the text spells {word}", record=record, fix=FIX)


def refuse_reserved(preprocess: Any, readers: Iterable[ShardReader]) -> None:
    """Raise before training where a text of the data spells the word that `preprocess` reserves, if it does."""
    word: str | None = getattr(preprocess, "reserved", None)
    if not word:
        return
    for reader in readers:
        row = reader.spelling(word)
        if row is not None:
            raise InputError(f"the text spells {word}", file=reader.folder, record=reader.key(row), fix=FIX)
