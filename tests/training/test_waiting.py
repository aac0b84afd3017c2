"""Processes that wait for the first one: longer than a barrier would, and no longer than that process lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lit_mmembed.training.waiting import first_alone
from tests.tiny import ROOT

PROGRAM = """
import os, sys, time
from datetime import timedelta
from pathlib import Path
from torch import distributed
from lit_mmembed.training.waiting import first_alone

rank, folder, ends = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
where = f"tcp://127.0.0.1:{sys.argv[4]}"
distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
distributed.distributed_c10d._get_default_store().set_timeout(timedelta(seconds=1))

def work():
    time.sleep(3)
    if ends == "badly":
        os._exit(3)
    (folder / "made").write_text(str(rank))

for _ in range(2 if ends == "well" else 1):
    first_alone(work)
    assert (folder / "made").read_text() == "0"
distributed.barrier()
"""


def started(folder: Path, ends: str) -> list[subprocess.Popen]:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-c", PROGRAM]
    return [
        subprocess.Popen(
            [*command, str(rank), str(folder), ends, port],
            cwd=ROOT,
            env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
            stderr=subprocess.PIPE,
        )
        for rank in (0, 1)
    ]


def test_the_others_wait_longer_than_the_stores_own_patience(tmp_path):
    for process in started(tmp_path, "well"):
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said


def test_the_waiting_ends_with_the_first_process(tmp_path):
    first, second = started(tmp_path, "badly")
    first.communicate(timeout=120)
    _, said = second.communicate(timeout=120)
    assert first.returncode == 3 and second.returncode not in (0, 3), said


@pytest.mark.parametrize("times", [1, 3])
def test_alone_it_is_just_done(times):
    found: list[int] = []
    for number in range(times):
        first_alone(lambda number=number: found.append(number))
    assert found == list(range(times))
