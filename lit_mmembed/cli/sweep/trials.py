"""The trials of a sweep: `trials.jsonl`, which is the whole of a sweep's state, and the metric of a trial's own log."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_file

TRIALS_FILE = "trials.jsonl"
LOG_FILE = "log.jsonl"
State = Literal["running", "finished", "failed"]


@dataclass(frozen=True)
class Trial:
    """One set of parameters and what came of it."""

    number: int
    parameters: dict[str, Any]
    state: State = "running"
    metric: float | None = None
    """The last value that the run logged, as in W&B's summary."""
    error: str | None = None
    """Why it failed: the last line that it printed."""


def read_trials(folder: Path) -> list[Trial]:
    """Return the trials of a sweep's folder in their order; none where it has not begun."""
    path = folder / TRIALS_FILE
    if not path.exists():
        return []
    try:
        return [Trial(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (json.JSONDecodeError, TypeError) as broken:
        raise InputError(f"is not a sweep's state: {broken}", file=path, fix="name another --out") from None


def write_trials(folder: Path, trials: Iterable[Trial]) -> None:
    """Write all of them, whole or not at all."""
    with atomic_file(folder / TRIALS_FILE) as partial:
        partial.write_text("".join(f"{json.dumps(asdict(trial))}\n" for trial in trials), encoding="utf-8")


def last_value(folder: Path, metric: str) -> float:
    """Return the last finite value of a metric in the logs below a trial's folder; of several runs, the latest one's.

    Raises:
        InputError: no run has logged it.
    """
    logs = sorted(folder.rglob(LOG_FILE), key=lambda path: (path.stat().st_mtime_ns, path))
    seen: dict[str, None] = {}
    for log in reversed(logs):
        rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        values = [row[metric] for row in rows if row.get(metric) is not None]
        if values:
            return float(values[-1])
        seen |= {name: None for row in rows for name in row if "/" in name}
    logged = f"it has {', '.join(sorted(seen))}" if seen else "nothing was logged"
    raise InputError(f"has no finite value of {metric!r}", file=folder, fix=f"{logged}; see `metric` in the sweep file")
