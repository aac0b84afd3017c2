"""Preparing the next batches in a thread while one is embedded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AHEAD = 2
"""Batches that are ready or being made."""

Batch = TypeVar("Batch")
Made = TypeVar("Made")


def prepared_ahead(make: Callable[[Batch], Made], batches: Iterable[Batch]) -> Iterator[tuple[Batch, Made]]:
    """Yield each batch with what `make` returns of it, in order.

    One thread makes them all: a tokenizer serves one at a time. What `make` raises is raised when its batch is due.
    """
    waiting: deque[tuple[Batch, Future[Made]]] = deque()
    with ThreadPoolExecutor(1) as worker:
        try:
            for batch in batches:
                waiting.append((batch, worker.submit(make, batch)))
                if len(waiting) > AHEAD:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        finally:
            for _, future in waiting:
                future.cancel()


def _next(waiting: deque[tuple[Batch, Future[Made]]]) -> tuple[Batch, Made]:
    batch, future = waiting.popleft()
    return batch, future.result()
