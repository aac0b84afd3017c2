"""Known values of a model, and whether a result agrees with them: what proves an installation.

A YAML (or JSON) file: `rows`, a list of {task, pool, metric, k, value, tolerance, source}; what all rows share stands
beside `rows` instead. Values are shares from 0 to 1, as in scores.jsonl. `shared_pools` lists the pools that hold the
documents of every task of the file: their rows mean something only where all tasks were run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lit_mmembed.errors import InputError
from lit_mmembed.types import Score

GOLDEN = Path(__file__).parents[1] / "data/golden"
FIELDS = {"task": str, "pool": str, "metric": str, "k": int, "value": float, "tolerance": float, "source": str}
OPTIONAL = {"source": ""}
SHARED_POOLS = "shared_pools"
AVERAGE = "avg_"
AS_EXPECTED, DIFFERS, LACKS, NOT_RUN = "as expected", "off", "lacks", "not run"
OFF = (DIFFERS, LACKS)
"""The verdicts that a check fails by."""


class Expected(NamedTuple):
    """One known value."""

    task: str
    pool: str
    metric: str
    k: int
    value: float
    tolerance: float
    """The largest difference that passes."""
    source: str = ""
    needs_all: bool = False
    """Whether it counts only where every task of the file was run: averages, and rows of a pool of all tasks."""


class Checked(NamedTuple):
    """A known value and what was found in its place."""

    expected: Expected
    found: float | None
    verdict: str
    """`as expected`, `off`, `lacks` (the task was scored, this number not) or `not run` (nothing of the task was)."""


def read_expected(name: str | Path) -> list[Expected]:
    """Read known values: a file, or the name of one that the package has (`clip_sf_l`, `blip_ff_l`).

    Raises:
        InputError: there is no such file, or a row is not complete, has an unknown field or stands twice.
    """
    shipped = GOLDEN / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        names = ", ".join(sorted(file.stem for file in GOLDEN.glob("*.yaml")))
        raise InputError("does not exist", file=path, fix=f"name a YAML file, or one of {names}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as broken:
        raise InputError(f"is not YAML: {broken}", file=path, fix="correct it") from None
    rows = content.get("rows") if isinstance(content, Mapping) else None
    if not isinstance(rows, list) or not rows:
        raise InputError("has no rows", file=path, fix="write `rows:`, a list of known values")
    pools = content.get(SHARED_POOLS, [])
    if not isinstance(pools, list):
        raise InputError(f"{SHARED_POOLS} is no list", file=path, fix=f"write {SHARED_POOLS}: [global]")
    shared = {name: value for name, value in content.items() if name not in ("rows", SHARED_POOLS)}
    expected: dict[tuple[str, str, str, int], Expected] = {}
    for place, row in enumerate(rows, start=1):
        try:
            one = _parse({**shared, **_mapping(row)}, pools)
            if one[:4] in expected:
                raise InputError("stands twice", fix="keep one")
        except InputError as wrong:
            raise InputError(wrong.problem, file=path, record=f"row {place}", fix=wrong.fix) from None
        expected[one[:4]] = one
    return list(expected.values())


def check(scores: Sequence[Score], expected: Sequence[Expected]) -> list[Checked]:
    """Compare scores with known values.

    A task of which nothing was scored is not run, and fails nothing; averages and pools of all tasks count only where
    every task of the known values was run.

    Raises:
        InputError: nothing of what is expected was scored.
    """
    found = {(score.task, score.pool, score.metric, score.k): score.value for score in scores}
    ran = {score.task for score in scores}
    whole = all(one.task in ran for one in expected if not one.task.startswith(AVERAGE))
    if not any(one.task in ran for one in expected):
        names = ", ".join(sorted(ran)[:5])
        raise InputError(f"the scores ({names}) have no task of the known values", fix="name the values of this data")
    return [_checked(one, found.get(one[:4]), one.task in ran and (whole or not one.needs_all)) for one in expected]


def _checked(expected: Expected, found: float | None, was_run: bool) -> Checked:
    if not was_run:
        return Checked(expected, None, NOT_RUN)
    if found is None:
        return Checked(expected, None, LACKS)
    close = abs(found - expected.value) <= expected.tolerance + 1e-12
    return Checked(expected, found, AS_EXPECTED if close else DIFFERS)


def _parse(row: Mapping[str, Any], shared_pools: Sequence[str]) -> Expected:
    row = {**OPTIONAL, **row}
    unknown, missing = sorted(set(row) - set(FIELDS)), [name for name in FIELDS if name not in row]
    if unknown or missing:
        problem = f"has unknown fields {', '.join(unknown)}" if unknown else f"lacks {', '.join(missing)}"
        raise InputError(problem, fix=f"give {', '.join(FIELDS)}")
    for name, kind in FIELDS.items():
        wanted = (int, float) if kind is float else kind
        if not isinstance(row[name], wanted) or isinstance(row[name], bool):
            raise InputError(f"{name} {row[name]!r} is no {kind.__name__}", fix=f"correct {name}")
    if row["tolerance"] < 0:
        raise InputError(f"tolerance {row['tolerance']} is negative", fix="give 0 or more")
    needs_all = row["task"].startswith(AVERAGE) or row["pool"] in shared_pools
    return Expected(**row, needs_all=needs_all)


def _mapping(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise InputError("is no row of fields", fix="write {task: ..., value: ...}")
    return row
