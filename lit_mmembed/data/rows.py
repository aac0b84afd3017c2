"""Rows as a Python program gives them: dictionaries, strings, images; checked at once, read when they are needed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lit_mmembed.errors import InputError
from lit_mmembed.types import EncoderRow, Side, Task

if TYPE_CHECKING:
    from PIL.Image import Image

KEYS = ("text", "image")
SHAPE = 'give {"text": ..., "image": ...} with either or both, a string, or an image'
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")


class GivenRow(NamedTuple):
    """A checked row whose image may still be a file."""

    text: str | None
    image: bytes | Path | Image | None

    def load(self, side: Side, instruction: str | None = None, task: Task | None = None) -> EncoderRow:
        """Return what an encoder's `preprocess` takes, the image read; one of Pillow is encoded without loss."""
        image = self.image
        if isinstance(image, Path):
            image = image.read_bytes()
        elif image is not None and not isinstance(image, bytes):
            image = _encoded(image)
        return EncoderRow(self.text, image, side, instruction, task)


def given_rows(rows: Sequence[Any]) -> list[GivenRow]:
    """Check rows.

    Args:
        rows: Each a mapping with "text", "image" or both, a string (a text), or an image alone; an image is one of
            Pillow, a path or the bytes of a file.

    Raises:
        InputError: one row instead of a list; a row that is none of these, has neither text nor image, other keys, or
            an image file that does not exist. It names the row by its place, from 0.
    """
    if isinstance(rows, str | bytes | Path | Mapping) or not hasattr(rows, "__len__"):
        raise InputError(f"rows are a {type(rows).__name__}", fix="give a list of rows, also for a single one")
    return [_given(row, f"row {index}") for index, row in enumerate(rows)]


def _given(row: Any, record: str) -> GivenRow:
    if isinstance(row, str):
        row = {"text": row}
    elif not isinstance(row, Mapping):
        row = {"image": row}
    if unknown := [str(key) for key in row if key not in KEYS]:
        raise InputError(f"has the unknown key {', '.join(unknown)}", record=record, fix=SHAPE)
    text, image = row.get("text"), row.get("image")
    if text is not None and not isinstance(text, str):
        raise InputError(f"has a text that is a {type(text).__name__}", record=record, fix="give a string")
    if not text and image is None:
        raise InputError("has neither text nor image", record=record, fix=SHAPE)
    return GivenRow(text or None, None if image is None else _image(image, record))


def _image(image: Any, record: str) -> bytes | Path | Image:
    from PIL.Image import Image

    if isinstance(image, bytes | Image):
        return image
    if not isinstance(image, str | Path):
        raise InputError(f"has an image that is a {type(image).__name__}", record=record, fix=SHAPE)
    if not Path(image).is_file():
        raise InputError("the image does not exist", file=image, record=record, fix="correct the path")
    return Path(image)


def _encoded(image: Image) -> bytes:
    stream = io.BytesIO()
    (image if image.mode in PNG_MODES else image.convert("RGB")).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
