"""Runs at the same time: what they share is run by one of them, and a process that ended keeps nobody waiting."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest
import yaml

from lit_mmembed.cli import locking, recipe
from lit_mmembed.cli.locking import in_turn
from tests.tiny import ROOT, mmembed

HOLD = "import sys, time; from pathlib import Path; from lit_mmembed.cli.locking import in_turn\n"
HOLD += "with in_turn(Path(sys.argv[1]), print): print('held', flush=True); time.sleep(60)"


def test_seeds_that_run_at_once_share_what_is_shared(tiny, tmp_path):
    shards = {"source": "mbeir", "root": str(tiny.source), "out": "${folder}/shards"}
    drawn = {
        "queries": "${stage:data}/shards/queries/train",
        "candidates": "${stage:data}/shards/candidates/train",
        "random": 2,
        "seed": "${seed}",
        "out": "${folder}/negatives.parquet",
    }
    stages = {"data": {"command": "shard", "shared": True, "arguments": shards}}
    stages["negatives"] = {"command": "mine", "arguments": drawn}
    (tmp_path / "story.yaml").write_text(yaml.safe_dump({"name": "story", "stages": stages}))
    command = [sys.executable, "-m", "lit_mmembed", "run", tmp_path / "story.yaml", "--out", tmp_path / "runs"]
    runs = [
        subprocess.Popen([*command, "--seed", str(seed)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for seed in range(3)
    ]
    printed = [process.communicate(timeout=300)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0, 0], printed
    assert sum("[1/2] data (shard) ->" in text for text in printed) == 1
    assert sum("[1/2] data (shard): done before" in text for text in printed) == 2
    assert all("[2/2] negatives (mine) ->" in text for text in printed)


def test_who_waits_says_for_whom_and_then_finds_it_done(tmp_path, monkeypatch, capsys):
    content = {"name": "story", "stages": {"data": {"command": "shard", "shared": True}}}
    (tmp_path / "story.yaml").write_text(yaml.safe_dump(content))
    entered, leave, ran = threading.Event(), threading.Event(), []

    def execute(command, arguments, *, folder, **rest):
        ran.append(folder)
        entered.set()
        assert leave.wait(60)

    monkeypatch.setattr(recipe, "execute", execute)
    monkeypatch.setattr(fcntl, "flock", told(fcntl.flock, leave))
    first = threading.Thread(target=recipe.run, args=(tmp_path / "story.yaml",), kwargs={"out": tmp_path / "runs"})
    first.start()
    assert entered.wait(60)
    recipe.run(tmp_path / "story.yaml", seed=1, out=tmp_path / "runs")
    first.join()
    assert len(ran) == 1
    printed = capsys.readouterr().out
    assert f"[1/1] data (shard): waits for process {os.getpid()} on " in printed
    assert "[1/1] data (shard): done before" in printed


def told(flock, leave: threading.Event):
    """Let the holder go on once somebody waits."""

    def waiting(stream, how):
        if how == fcntl.LOCK_EX:
            leave.set()
        return flock(stream, how)

    return waiting


def test_a_killed_process_keeps_nobody_waiting(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "lock"], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    asked: list[str] = []

    def kill(who: str) -> None:
        asked.append(who)
        holder.send_signal(signal.SIGKILL)

    with in_turn(tmp_path / "lock", kill):
        pass
    holder.wait()
    assert asked[0].startswith(f"process {holder.pid} on ")


def test_what_a_killed_run_had_started_is_waited_for(tmp_path, monkeypatch):
    """On a GPU a fit is a process of its own, which lives on when `mmembed run` alone is killed."""
    program = tmp_path / "fit"
    program.write_text(f"#!{sys.executable}\nimport os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    program.chmod(0o755)
    run = f"""
import sys, torch
from pathlib import Path
from lit_mmembed.cli import execution
from lit_mmembed.cli.locking import in_turn
torch.cuda.is_available = lambda: True
sys.executable = {str(program)!r}
with in_turn(Path({str(tmp_path / "lock")!r}), print):
    execution.execute("fit", {{}}, config=[], folder=Path("."), seed=0)
"""
    runner = subprocess.Popen([sys.executable, "-c", run], stdout=subprocess.PIPE, text=True)
    assert runner.stdout is not None
    orphan = int(runner.stdout.readline())
    runner.kill()
    runner.wait()
    asked: list[str] = []

    def end(who: str) -> None:
        asked.append(who)
        os.kill(orphan, signal.SIGKILL)

    with in_turn(tmp_path / "lock", end):
        pass
    assert asked[0].startswith(f"process {runner.pid} on ")


def test_a_forked_worker_that_lives_on_keeps_nobody_waiting(tmp_path):
    read, write = os.pipe()
    with in_turn(tmp_path / "lock", print):
        worker = os.fork()
        if not worker:
            os.close(write)
            os.read(read, 1)  # until the test is over
            os._exit(0)
    try:
        with in_turn(tmp_path / "lock", pytest.fail):
            pass
    finally:
        os.close(write)
        os.waitpid(worker, 0)
        os.close(read)


def test_where_the_file_system_has_no_locks_nobody_waits(tmp_path, monkeypatch):
    def refuse(stream, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locking.fcntl, "flock", refuse)
    content = {"name": "story", "stages": {"last": {"command": "doctor", "always": True}}}
    (tmp_path / "story.yaml").write_text(yaml.safe_dump(content))
    assert mmembed("run", tmp_path / "story.yaml", "--out", tmp_path / "runs").status == 0


def test_only_half_copies_of_the_stage_itself_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "execute", lambda *a, **b: None)
    (tmp_path / "story.yaml").write_text(yaml.safe_dump({"name": "story", "stages": {"a": {"command": "shard"}}}))
    beside = tmp_path / "runs/story/seed0/main"
    for name in ("a.12.partial", "a.b.12.partial", "ba.12.partial", "a.x.partial"):
        (beside / name).mkdir(parents=True)
    recipe.run(tmp_path / "story.yaml", out=tmp_path / "runs")
    assert {path.name for path in beside.iterdir()} == {
        *("a", ".a.lock"),
        *("a.b.12.partial", "ba.12.partial", "a.x.partial"),
    }
