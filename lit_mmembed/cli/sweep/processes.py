"""A trial's process: its share of the machine, its log, and a lock that tells whether it still runs.

A process holds the lock of its folder as long as it lives, also when the sweep that started it was killed: the next
sweep ends such a process before it goes on in its folder.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lit_mmembed.errors import InputError

SECONDS_TO_END = 10.0
NOT_INHERITED = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")
"""W&B's own sweep, if this process belongs to one: its trials are not ours."""


@dataclass
class Running:
    """A trial that was started."""

    number: int
    folder: Path
    log: Path
    process: subprocess.Popen

    def status(self) -> int | None:
        """Return its exit status, None while it runs."""
        return self.process.poll()

    def last_line(self, status: int) -> str:
        """Return the last line that it printed, or how it ended."""
        lines = [line.strip() for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines()]
        printed = next((line for line in reversed(lines) if line), "it printed nothing")
        return f"killed by {signal.Signals(-status).name}: {printed}" if status < 0 else printed

    def stop(self) -> None:
        """Ask it to end, and end it if it does not, with all processes that it started."""
        for asked in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, asked)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(SECONDS_TO_END)


def start(command: Sequence[str], number: int, folder: Path, *, environment: Mapping[str, str]) -> Running:
    """Start a trial in a process group of its own; what it prints is added to FOLDER.log."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    log = folder.with_name(f"{folder.name}.log")
    with folder.with_name(f"{folder.name}.lock").open("a+") as lock, log.open("ab") as stream:
        _end_orphan(lock)
        lock.truncate(0)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            process_group=0,
            pass_fds=(lock.fileno(),),
        )
        lock.write(str(process.pid))
    return Running(number, folder, log, process)


def _end_orphan(lock: IO[str]) -> None:
    """Take the lock of a trial; a process of an earlier sweep that holds it is killed first."""
    end = time.monotonic() + SECONDS_TO_END
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip()
            if time.monotonic() > end:
                fix = f"end process {pid} first"
                raise InputError("a trial of an earlier sweep still runs", file=lock.name, fix=fix) from None
            if pid:
                with suppress(ProcessLookupError):
                    os.killpg(int(pid), signal.SIGKILL)
            time.sleep(0.1)


def resources(worker: int, workers: int) -> dict[str, str]:
    """Return the environment of a worker's trials: its share of the processors, and one GPU of several workers' each.

    OMP_NUM_THREADS is kept where it is set: the last bits of a model depend on it.
    """
    environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    if workers == 1:
        return environment
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment.setdefault("OMP_NUM_THREADS", str(max(1, processors // workers)))
    gpus = _gpus()
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[worker % len(gpus)]
    return environment


def _gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]
