"""Work of the first process that the others wait for, however long it takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta

from torch import distributed

PATIENCE = timedelta(days=30)
_calls = itertools.count()


def first_alone(work: Callable[[], None]) -> None:
    """Have the first process do something while the others wait.

    A barrier gives up after the process group's half hour. What is waited for here is a key in the group's store, which
    the first process holds: if that process ends, so does the waiting, in an error.

    All processes must call this equally often.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        work()
        return
    store, key = distributed.distributed_c10d._get_default_store(), f"lit_mmembed/first_alone/{next(_calls)}"
    if distributed.get_rank() == 0:
        work()
        store.set(key, "done")
    else:
        store.wait([key], PATIENCE)
