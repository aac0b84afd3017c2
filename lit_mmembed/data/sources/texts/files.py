"""The files of a text set: which there are, which split each belongs to, and their rows one at a time."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from lit_mmembed.errors import InputError

SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
BATCH = 1024
"""Rows of a Parquet file in memory at a time."""


class TextFile(NamedTuple):
    """A file with rows."""

    path: Path
    split: str | None
    """What its name says; None when that is nothing."""


class Row(NamedTuple):
    """A row as it stands in its file: an object, a list, or why it cannot be read."""

    place: tuple[Path, int]
    """File, and line or row from 1."""
    content: Any


def find_files(root: Path) -> list[TextFile]:
    """Return a file, or the files below a folder whose form is known, with the split that name or folder says.

    Raises:
        InputError: there is none.
    """
    if root.is_file():
        _reader_of(root)
        return [TextFile(root, _split_of(root.name))]
    if not root.is_dir():
        raise InputError("does not exist", file=root, fix="give a file, or a folder of files")
    found = []
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        hidden = any(part.startswith((".", "__")) for part in inside.parts)
        if _suffix(path) in READERS and path.is_file() and not hidden:
            found.append(TextFile(path, _split_of(str(inside))))
    if not found:
        raise InputError(f"has no file with rows in it ({', '.join(READERS)})", file=root, fix="give another folder")
    return found


def named_files(folder: Path, named: Mapping[str, Sequence[str]]) -> list[TextFile]:
    """Return the files that the user names for each split."""
    files = [TextFile(folder / name, split) for split, names in named.items() for name in names]
    for file in files:
        if not file.path.is_file():
            raise InputError("does not exist", file=file.path, fix="correct `files`")
        _reader_of(file.path)
    return files


def rows_of(path: Path) -> Iterator[Row]:
    """Yield the rows of a file, read as they are asked for; one that is broken has an InputError as its content.

    Raises:
        InputError: the whole file cannot be read (from there on).
    """
    try:
        yield from _reader_of(path)(path)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as broken:
        raise InputError(f"cannot be read: {broken}", file=path, fix="fetch it again, or save it as UTF-8") from None


def _json_lines(path: Path) -> Iterator[Row]:
    with _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield Row((path, number), _parsed(line))


def _json(path: Path) -> Iterator[Row]:
    """Read a list of rows, or SQuAD's nested form; the whole file is in memory."""
    with _opened(path) as stream:
        content = _parsed(stream.read())
    if isinstance(content, InputError):
        fix = "if it has one object a line, name it .jsonl"
        raise InputError(content.problem, file=path, fix=fix)
    nested = isinstance(content, dict) and isinstance(content.get("data"), list)
    listed = _squad(content) if nested else content
    if not isinstance(listed, list):
        raise InputError('is neither a list of rows nor SQuAD\'s {"data": [...]}', file=path, fix="write .jsonl")
    for number, row in enumerate(listed, start=1):
        yield Row((path, number), row)


def _squad(content: Any) -> list[Any]:
    """Question after question of data/paragraphs/qas, each with its paragraph as `context`."""
    found: list[Any] = []
    try:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                found += [{**question, "context": paragraph["context"]} for question in paragraph["qas"]]
    except (KeyError, TypeError) as wrong:
        place = f"question {len(found) + 1}"
        broken = InputError(f"is not SQuAD's data/paragraphs/qas: {wrong}", record=place, fix="fetch the file again")
        return [*found, broken]
    return found


def _table(delimiter: str, quoting: int) -> Callable[[Path], Iterator[Row]]:
    def read(path: Path) -> Iterator[Row]:
        csv.field_size_limit(1 << 30)  # Python's own limit is 128 KiB a cell
        with _opened(path) as stream, io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            cells = csv.reader(text, delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
            rows = _table_rows(cells, path)
            header = next(rows, [])
            if len(header) < 2:
                raise InputError(f"has the header {header}", file=f"{path}:1", fix="name two columns or more")
            for row in rows:
                if row:
                    yield Row((path, cells.line_num), _cells(header, row))

    return read


def _table_rows(cells: Any, path: Path) -> Iterator[list[str]]:
    """The rows of csv's reader; one whose quote is never closed would hold all that follow it."""
    while True:
        begins = cells.line_num + 1
        try:
            row = next(cells)
        except StopIteration:
            return
        except csv.Error as broken:
            fix = "close the quote; inside of quotes write a quote twice"
            raise InputError(f"cannot be read: {broken}", file=f"{path}:{begins}", fix=fix) from None
        yield row


def _cells(header: list[str], row: list[str]) -> Any:
    """An empty cell is one that is not there."""
    if len(row) != len(header):
        return InputError(f"has {len(row)} cells, the header has {len(header)}", fix="correct the line")
    return {name: cell or None for name, cell in zip(header, row, strict=True)}


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH):
            for row in batch.to_pylist():
                number += 1
                yield Row((path, number), row)
    except pa.ArrowException as broken:
        raise InputError(f"is not a readable Parquet file: {broken}", file=path, fix="fetch it again") from None


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".csv": _table(",", csv.QUOTE_MINIMAL),
    ".tsv": _table("\t", csv.QUOTE_NONE),
    ".parquet": _parquet,
}
"""By suffix; all but .parquet also with .gz behind it."""


def _reader_of(path: Path) -> Callable[[Path], Iterator[Row]]:
    if _suffix(path) not in READERS:
        raise InputError("is of an unknown form", file=path, fix=f"name it {', '.join(READERS)} (or .jsonl.gz, ...)")
    return READERS[_suffix(path)]


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as broken:
        return InputError(f"is not JSON: {broken}", fix="repair or remove the line")


def _split_of(path: str) -> str | None:
    """The last word of a path that names a split: "dev" in "snli_1.0_dev.jsonl"."""
    words = re.findall("[a-z]+", path.lower())
    return next((SPLIT_WORDS[word] for word in reversed(words) if word in SPLIT_WORDS), None)
