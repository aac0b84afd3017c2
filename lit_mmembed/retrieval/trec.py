"""Text tables separated by blanks (TREC runs, qrels): parsed by Arrow, and line by line only to say what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from lit_mmembed.errors import InputError

LAYOUTS = Mapping[int, Sequence[str]]
"""Number of columns -> their names."""


def read_columns(path: str | Path, layouts: LAYOUTS, *, numeric: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    """Read a text table whose number of columns decides their names.

    Args:
        path: The file.
        layouts: The names of the columns, by their number; the first line decides.
        numeric: Columns that hold numbers, with the type that they become; NaN is not a number.

    Returns:
        One array per named column (names that begin with "_" are left out), of large strings or of the numeric type.

    Raises:
        InputError: names the file and the first broken line.
    """
    path = Path(path)
    names, delimiter = _layout(path, layouts)
    try:
        return _parse_fast(path, names, delimiter, numeric)
    except pa.ArrowInvalid:
        return _parse_by_line(path, names, numeric)


def line_of(path: str | Path, row: int) -> int:
    """The line (from 1) on which row `row` (from 0) of a table stands: empty lines do not count as rows."""
    with Path(path).open(encoding="utf-8") as stream:
        filled = (number for number, line in enumerate(stream, start=1) if line.strip())
        return next(number for place, number in enumerate(filled) if place == row)


def _layout(path: Path, layouts: LAYOUTS) -> tuple[Sequence[str], str]:
    try:
        with path.open(encoding="utf-8") as stream:
            number, line = next(((n, line) for n, line in enumerate(stream, start=1) if line.strip()), (1, ""))
    except FileNotFoundError:
        raise InputError("does not exist", file=path, fix="name a file of qrels, or a ranking") from None
    except UnicodeDecodeError:
        raise InputError(
            "is neither Parquet nor UTF-8 text", file=path, fix="write it as TREC does, in UTF-8"
        ) from None
    width = len(line.split())
    if width not in layouts:
        raise _wrong_width(path, number, width, list(layouts.values()))
    return layouts[width], "\t" if "\t" in line else " "


def _parse_fast(
    path: Path, names: Sequence[str], delimiter: str, numeric: Mapping[str, pa.DataType]
) -> dict[str, pa.Array]:
    wanted = [name for name in names if not name.startswith("_")]
    table = csv.read_csv(
        path,
        read_options=csv.ReadOptions(column_names=list(names)),
        parse_options=csv.ParseOptions(delimiter=delimiter, quote_char=False),
        convert_options=csv.ConvertOptions(
            include_columns=wanted,
            column_types={name: numeric.get(name, pa.large_string()) for name in wanted},
            null_values=[],
            strings_can_be_null=False,
        ),
    )
    columns = {name: table[name].combine_chunks() for name in wanted}
    for name, column in columns.items():
        if not _is_clean(column, name in numeric):
            raise pa.ArrowInvalid(f"column {name}")
    return columns


def _is_clean(column: pa.Array, is_numeric: bool) -> bool:
    if is_numeric:
        return not pc.any(pc.is_nan(column.cast(pa.float64()))).as_py()
    blank = pc.match_substring_regex(column.dictionary_encode().dictionary, r"^$|\s")
    return not pc.any(blank).as_py()


def _parse_by_line(path: Path, names: Sequence[str], numeric: Mapping[str, pa.DataType]) -> dict[str, pa.Array]:
    columns: dict[str, list] = {name: [] for name in names if not name.startswith("_")}
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            parts = line.split()
            if not parts:
                continue
            if len(parts) != len(names):
                raise _wrong_width(path, number, len(parts), [names])
            for name, part in zip(names, parts, strict=True):
                if name in columns:
                    kind = numeric.get(name)
                    columns[name].append(part if kind is None else _number((path, number), name, part, kind))
    return {name: pa.array(values, numeric.get(name, pa.large_string())) for name, values in columns.items()}


def _number(place: tuple[Path, int], name: str, part: str, kind: pa.DataType) -> float | int:
    try:
        value = float(part)
        whole = pa.types.is_integer(kind)
        if not np.isnan(value) and (not whole or value.is_integer()):
            return int(value) if whole else value
    except ValueError:
        pass
    problem = f"{name} {part!r} is not a {'whole ' if pa.types.is_integer(kind) else ''}number"
    raise InputError(problem, file=place[0], record=f"line {place[1]}", fix="correct this line")


def _wrong_width(path: Path, line: int, width: int, layouts: Sequence[Sequence[str]]) -> InputError:
    expected = " or ".join(f"{len(names)} ({' '.join(name.lstrip('_') for name in names)})" for names in layouts)
    problem = f"has {width} columns instead of {expected}"
    return InputError(problem, file=path, record=f"line {line}", fix="correct this line")
