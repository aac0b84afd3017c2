"""`mmembed rerank` on several devices: a process for each, with each N-th query; their answers are joined."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NamedTuple

from lit_mmembed.errors import InputError
from lit_mmembed.reranking.reordering import answers_path
from lit_mmembed.reranking.writing import part_out

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_END = 20.0
PARENT = "MMEMBED_RERANK_PARENT"
"""Environment variable of a part's process: who has started it."""
VALUES = ("pool", "data", "split", "k", "model", "template", "document_tokens", "max_tokens", "tokens", "vision_cache")
"""Flags that a part has as they are."""


class Worker(NamedTuple):
    """A process that answers about a part."""

    process: subprocess.Popen[bytes]
    said: IO[bytes]
    """What it has printed as errors."""
    answers: Path
    """What it leaves."""


def devices_of(flags: argparse.Namespace) -> int:
    """Return how many processes answer.

    Raises:
        InputError: --devices is neither auto nor a number from 1.
    """
    if flags.devices != "auto":
        if not str(flags.devices).isdecimal() or int(flags.devices) < 1:
            raise InputError(f"--devices {flags.devices} is no number of devices", fix="give auto, or at least 1")
        if flags.device in ("auto", "cuda") and 0 < _gpus() < int(flags.devices):
            problem = f"--devices {flags.devices} are more than the {_gpus()} GPUs of this machine"
            raise InputError(problem, fix="give fewer, or take parts on several machines with --part")
        return int(flags.devices)
    return max(1, _gpus()) if flags.model and flags.device in ("auto", "cuda") else 1


def answered_in_parts(flags: argparse.Namespace, run: Path, count: int) -> list[Path]:
    """Ask in `count` processes at once; return the files of their answers.

    A part that has been answered before is not asked again. One that fails ends the others; each keeps what it has.

    Raises:
        InputError: a part failed; with what it said.
    """
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as ending:
        workers = [_started(flags, run, (number, count), ending) for number in range(1, count + 1)]
        shown, states = 0, [worker.process.poll() for worker in workers]
        while any(state is None for state in states):
            time.sleep(SECONDS_BETWEEN_LOOKS)
            shown = _show(workers[0], shown)  # the progress of all: each has as many queries
            states = [worker.process.poll() for worker in workers]
            failed = [worker for worker, state in zip(workers, states, strict=True) if state]
            if failed:
                raise _failure(failed[0])
    return [worker.answers for worker in workers]


def _started(flags: argparse.Namespace, run: Path, part: tuple[int, int], ending: ExitStack) -> Worker:
    said = ending.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    words = [sys.executable, "-m", "lit_mmembed", *_words(flags, run, part)]
    threads = max(1, (os.cpu_count() or 1) // part[1])
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ, PARENT: str(os.getpid())}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=said, env=environment)
    ending.callback(_end, process)
    return Worker(process, said, answers_path(part_out(flags.out, part)))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_with_parent() -> None:
    """In a part's process: end when the process that has started it is gone, or two would write into one journal."""
    parent = int(os.environ.get(PARENT, "0"))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    if parent:
        threading.Thread(target=watch, daemon=True).start()


def _words(flags: argparse.Namespace, run: Path, part: tuple[int, int]) -> list[str]:
    """The command line of a part."""
    on_gpus = flags.device == "cuda" or (flags.device == "auto" and _gpus() > 0)
    device = f"cuda:{part[0] - 1}" if on_gpus else flags.device
    words = ["rerank", "--run", str(run), "--out", str(flags.out), "--part", f"{part[0]}/{part[1]}"]
    words += ["--devices", "1", "--device", device, "--precision", flags.precision]
    for name in VALUES:
        value = getattr(flags, name)
        words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    words += ["--any-resolution"] if flags.any_resolution else []
    words += ["--oracle"] if flags.oracle else []
    return words + (["--tasks", *flags.tasks] if flags.tasks else [])


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _show(worker: Worker, shown: int) -> int:
    """Print the whole lines of progress that are new; return how many bytes have been looked at."""
    new = _said(worker)[shown:].rpartition(b"\n")
    for line in new[0].decode(errors="replace").splitlines():
        if line.startswith("rerank: "):
            print(line, file=sys.stderr, flush=True)
    return shown + len(new[0]) + len(new[1])


def _said(worker: Worker) -> bytes:
    """Read what a process has printed, where it goes on writing."""
    descriptor = worker.said.fileno()
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _failure(worker: Worker) -> InputError:
    lines = _said(worker).decode(errors="replace").strip().splitlines() or ["it said nothing"]
    told, _, fix = lines[-1].removeprefix("mmembed: error: ").partition(" (fix: ")
    fix = fix.removesuffix(")") or "the same command goes on with what was answered"
    return InputError(f"a part ended with status {worker.process.returncode}: {told}", file=worker.answers, fix=fix)


def removed(parts: Sequence[Path]) -> None:
    """Remove the parts' files: the ranking is written."""
    for path in parts:
        path.unlink(missing_ok=True)
