"""A corpus or the queries of an mteb task as rows to embed; nothing of them is held in memory but lengths."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lit_mmembed.data.rows import GivenRow
from lit_mmembed.evaluation.mteb.prompts import Asked
from lit_mmembed.types import EncoderRow, Modality, Side

TEXTS = {Side.CANDIDATE: ("title", "text"), Side.QUERY: ("text", "instruction")}
"""Columns that mteb joins with a blank: a title goes before the text, a query's own instruction behind it."""
AT_A_TIME = 1 << 16
IMAGES_AT_A_TIME = 1 << 10
"""Rows whose lengths are read at a time: chosen rows are copied, images and all."""
MAGIC = (b"\xff\xd8", b"\x89PNG", b"RIFF")
"""What JPEG, PNG and WebP begin with; other images are encoded again as PNG."""


class TaskRows:
    """A map-style dataset of (row, EncoderRow) over a `datasets.Dataset` with the columns id, text, title, image, ...

    Args:
        table: mteb's corpus or queries.
        side: Which of the two.
        modalities: mteb's names of what the task has on this side: columns of others are not read.
        asked: The instruction of queries.
        rows: [m] rows of the table; None means all.
        length: Tokens at most; None: the encoder's own limit.
        reserved: What no text may spell (the image's placeholder): it is written with a blank inside.
        verbatim: Keep outer blanks, and texts of nothing else: a data directory's, which `mmembed encode` keeps.
    """

    def __init__(
        self,
        table: Any,
        side: Side,
        modalities: Sequence[str],
        *,
        asked: Asked | None = None,
        rows: np.ndarray | None = None,
        length: int | None = None,
        reserved: str | None = None,
        verbatim: bool = False,
    ) -> None:
        self.table = _undecoded(table)
        self.side = side
        self.texts = [name for name in TEXTS[side] if "text" in modalities and name in table.column_names]
        self.image = "image" in modalities and "image" in table.column_names
        self.asked = asked if side is Side.QUERY else None
        self._some = rows is not None
        self.rows = np.arange(len(table)) if rows is None else np.asarray(rows)
        self.length, self.reserved, self.verbatim = length, reserved, verbatim
        self._read = self.table.select_columns(["id", *self.texts, *(["image"] if self.image else [])])
        self.characters, self._has_image = self._scanned()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[int, EncoderRow]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[int, EncoderRow]]:
        """A batch at once: four times as fast as row by row."""
        columns = self._read[self.rows[np.asarray(indices)].tolist()]
        records = (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))
        return [(index, self._row(record)) for index, record in zip(indices, records, strict=True)]

    @property
    def ids(self) -> np.ndarray:
        """[n] object array of str."""
        return np.array([str(name) for name in self.table["id"][:]], dtype=object)[self.rows]

    @property
    def images(self) -> np.ndarray:
        """[n] bool: which rows have an image."""
        return self._has_image

    @property
    def blank(self) -> np.ndarray:
        """[n] bool: rows with neither text nor image; some corpora have them."""
        return (self.characters == 0) & ~self._has_image

    @property
    def modality(self) -> np.ndarray:
        """[n] int8 modality codes; a blank row counts as text."""
        codes = np.where(self.characters > 0, Modality.IMAGE_TEXT.code, Modality.IMAGE.code)
        return np.where(self._has_image, codes, Modality.TEXT.code).astype(np.int8)

    def _row(self, record: Mapping[str, Any]) -> EncoderRow:
        written = joined(record, self.texts)
        text = written if self.verbatim else tidy(written.strip() if self.side is Side.CANDIDATE else written)
        given = GivenRow(unreserved(text, self.reserved), encoded_image(record["image"]) if self.image else None)
        instruction, task = (None, None) if self.asked is None else (self.asked.instruction, self.asked.task)
        row = given.load(self.side, instruction, task)
        return EncoderRow(row.text, row.image, row.side, row.instruction, row.task, self.length)

    def _scanned(self) -> tuple[np.ndarray, np.ndarray]:
        """[n] characters of each row's text (exact where it has any) and [n] whether it has an image."""
        characters, images = [np.zeros(0, np.int64)], [np.zeros(0, bool)]
        arrow = self._read.with_format("arrow")
        step = IMAGES_AT_A_TIME if self.image else AT_A_TIME
        for start in range(0, len(self.rows), step):
            part: Any = self.rows[start : start + step]
            table = arrow[part if self._some else slice(start, start + len(part))]
            lengths = (_lengths(table[name], trimmed=not self.verbatim) for name in self.texts)
            characters.append(sum(lengths, np.zeros(len(part), np.int64)))
            images.append(_present(table["image"]) if self.image else np.zeros(len(part), bool))
        return np.concatenate(characters), np.concatenate(images)


def joined(record: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Join a record's texts as mteb does; a conversation becomes "role: content; role: content", instruction first."""
    parts = [record[name] for name in columns if record.get(name)]
    if parts and isinstance(parts[0], list):
        turns = [turn if isinstance(turn, str) else f"{turn['role']}: {turn['content']}" for turn in parts[0]]
        parts = [*parts[1:], "; ".join(turns)]
    return " ".join(parts)


def tidy(text: str) -> str | None:
    """The text; None where there is nothing but blanks."""
    return text if text.strip() else None


def unreserved(text: str | None, reserved: str | None) -> str | None:
    """The text with a reserved word broken in two; None where there is none."""
    if text and reserved:
        text = text.replace(reserved, f"{reserved[:1]} {reserved[1:]}")
    return text or None


def encoded_image(image: Any) -> Any:
    """The bytes of an image's file, as the data set has them; else the picture itself, which `GivenRow` encodes."""
    from PIL import Image

    if isinstance(image, Mapping):
        image = image.get("bytes") or (_file(image["path"]) if image.get("path") else None)
    if isinstance(image, bytes) and not image.startswith(MAGIC):
        picture = Image.open(io.BytesIO(image))
        return picture.convert("RGB")
    return image


def _file(path: str) -> bytes:
    from pathlib import Path

    return Path(path).read_bytes()


def _undecoded(table: Any) -> Any:
    """Read images as their files' bytes: pixels would be encoded again, and are not what training saw."""
    from datasets import Image

    if "image" in table.column_names and isinstance(table.features["image"], Image):
        return table.cast_column("image", Image(decode=False))
    return table


def _lengths(column: pa.ChunkedArray, *, trimmed: bool) -> np.ndarray:
    """[n] characters, outer blanks not counted where trimmed; of a conversation, 200 a turn."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        lengths = pc.multiply(pc.list_value_length(column), 200)
    else:
        texts = column.cast(pa.large_string())
        lengths = pc.utf8_length(pc.utf8_trim_whitespace(texts) if trimmed else texts)
    return pc.fill_null(lengths, 0).to_numpy().astype(np.int64)


def _present(column: pa.ChunkedArray) -> np.ndarray:
    valid = column.is_valid()
    if pa.types.is_struct(column.type):
        inside = [pc.struct_field(column, name).is_valid() for name in ("bytes", "path")]
        valid = pc.and_(valid, pc.or_(*inside))
    return valid.to_numpy()
