"""Locks on files, which end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lit_mmembed.errors import InputError

HELD: set[int] = set()
"""Descriptors of the locks that `in_turn` holds: a process that gets them keeps the locks if this one is killed."""


@contextmanager
def locked(path: Path, problem: str) -> Iterator[None]:
    """Hold a file's lock.

    Raises:
        InputError: another process does: `problem`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(problem, file=path.parent, fix="wait for it, or name another --out") from None
        yield


@contextmanager
def in_turn(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold a file's lock, when other processes have let go of it.

    A file system without locks is one where nobody waits.

    Args:
        path: The file, which is made and stays.
        say: Told who holds it, if there is something to wait for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            say(stream.read().strip() or "another process")
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError:
            yield
            return
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        HELD.add(stream.fileno())
        try:
            yield
        finally:
            HELD.discard(stream.fileno())
            fcntl.flock(stream, fcntl.LOCK_UN)  # closing is not enough: workers that were forked meanwhile have it too
