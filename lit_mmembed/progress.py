"""Progress of long commands: speed and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 20.0


@contextmanager
def progress(what: str, *, total: int | None = None, unit: str = "rows") -> Iterator[Callable[..., None]]:
    """Yield a function to call with the number of units done since the last call (and, once known, `total=`)."""
    if sys.stderr.isatty():
        with _bar(what, total, unit) as step:
            yield step
    else:
        yield _Lines(what, total, unit).step


@contextmanager
def _bar(what: str, total: int | None, unit: str) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(what, total=total, rate="")

        def step(done: int, total: int | None = None) -> None:
            if total is not None:
                bars.update(bar, total=total)
            speed = bars.tasks[bar].speed
            bars.update(bar, advance=done, rate=f"{speed:,.0f} {unit}/s" if speed else "")

        yield step


class _Lines:
    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self.start = self.last = time.monotonic()

    def step(self, done: int, total: int | None = None) -> None:
        self.done += done
        self.total = self.total if total is None else total
        now = time.monotonic()
        if now - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last = now
        speed = self.done / (now - self.start)
        left = f", {(self.total - self.done) / speed:,.0f} s left" if self.total and speed else ""
        print(f"{self.what}: {self.done:,} {self.unit}, {speed:,.0f}/s{left}", file=sys.stderr)
