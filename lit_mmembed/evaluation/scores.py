"""Scores on disk: JSON lines, one number a line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_file
from lit_mmembed.types import Score


def write_scores(path: str | Path, scores: Iterable[Score]) -> None:
    """Write scores in the order given, atomically."""
    with atomic_file(path) as partial, partial.open("w", encoding="utf-8") as stream:
        for score in scores:
            stream.write(json.dumps(dataclasses.asdict(score), sort_keys=True, ensure_ascii=False) + "\n")


def read_scores(path: str | Path) -> list[Score]:
    """Read scores back; InputError names file and line."""
    path = Path(path)
    if not path.exists():
        raise InputError("does not exist", file=path, fix="make it with `mmembed evaluate --json`")
    scores = []
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                scores.append(Score(**json.loads(line)))
            except (ValueError, TypeError) as broken:
                raise InputError(f"is not a score: {broken}", file=path, record=f"line {number}") from None
    return scores
