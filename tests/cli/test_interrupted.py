"""What a signal or a kill between two moments leaves: no stage counts as done, and none is stuck."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from lit_mmembed.cli import execution, recipe
from tests.tiny import ROOT, Tiny, done, json_lines

ENVIRONMENT = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}


def fit_recipe(tiny: Tiny, folder: Path, **trainer: object) -> Path:
    """A recipe of one fit; returns its file."""
    _, *flags = tiny.fit("${folder}")
    config = [str(value) for flag, value in pairwise(flags) if flag == "-c"]
    given = [str(flag)[2:].split("=", 1) for flag in flags if str(flag).startswith("--") and "=" in str(flag)]
    arguments = {key: yaml.safe_load(value) for key, value in given if key not in ("folder", "seed_everything")}
    arguments |= {f"trainer.{name}": value for name, value in trainer.items()}
    stages = {"rand": {"command": "fit", "config": config, "arguments": arguments}}
    (folder / "story.yaml").write_text(yaml.safe_dump({"name": "story", "stages": stages}))
    return folder / "story.yaml"


@pytest.mark.parametrize("how", ["in this process", "in a process of its own"])
def test_a_fit_that_is_terminated_is_not_done(tiny, tmp_path, how):
    file = fit_recipe(tiny, tmp_path, max_steps=-1, max_epochs=100000)
    runner = "import sys, torch\nfrom lit_mmembed.__main__ import main\n"
    if how == "in a process of its own":
        runner += "torch.cuda.is_available = lambda: True\n"
    runner += "sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", runner, "run", file, "--out", tmp_path / "runs"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, text=True
    )
    log = tmp_path / "runs/story/seed0/main/rand/log.jsonl"
    while not (log.exists() and json_lines(log)):
        assert process.poll() is None, process.communicate()
    pid = process.pid
    if how == "in a process of its own":
        pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(pid, signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode not in (0, None)
    assert not (log.parent / "stage.json").exists()


def test_two_devices_of_a_recipe_do_not_wait_for_each_other(tiny, tmp_path):
    file = fit_recipe(tiny, tmp_path, devices=2, strategy="ddp", max_steps=2)
    command = [sys.executable, "-m", "lit_mmembed", "run", file, "--out", tmp_path / "runs"]
    subprocess.run(command, cwd=ROOT, check=True, env=ENVIRONMENT, timeout=300)
    assert (tmp_path / "runs/story/seed0/main/rand/model/weights.safetensors").exists()


@pytest.mark.parametrize(
    ("trainer", "alone"),
    [
        ({}, True),
        ({"devices": "auto"}, True),
        ({"devices": 1}, True),
        ({"devices": "2"}, False),
        ({"devices": [0, 1]}, False),
        ({"devices": [3]}, True),
        ({"num_nodes": 2}, False),
    ],
)
def test_a_fit_of_several_processes_is_told_from_its_configuration(tmp_path, trainer, alone):
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump({"trainer": trainer}))
    assert execution._is_one_process([str(tmp_path / "fit.yaml")], {}) == alone
    assert execution._is_one_process([], {f"trainer.{name}": value for name, value in trainer.items()}) == alone


def test_a_directory_that_was_sharded_before_the_kill_is_kept(tiny, tmp_path):
    shards = {"source": "mbeir", "root": str(tiny.source), "out": "${folder}/shards"}
    stages = {"data": {"command": "shard", "shared": True, "arguments": shards}}
    (tmp_path / "story.yaml").write_text(yaml.safe_dump({"name": "story", "stages": stages}))
    done("run", tmp_path / "story.yaml", "--out", tmp_path / "runs")
    stage = tmp_path / "runs/story/shared/data"
    before = (stage / "shards/manifest.json").stat()
    (stage / "stage.json").unlink()
    shutil.copytree(stage / "shards", stage / "shards.4711.partial")
    done("run", tmp_path / "story.yaml", "--out", tmp_path / "runs")
    assert {path.name for path in stage.iterdir()} == {"shards", "stage.json", "started.json"}
    after = (stage / "shards/manifest.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_only_what_a_killed_process_had_for_itself_is_removed(tmp_path, monkeypatch):
    """Stores, searches and answers that go on are named without a process."""
    monkeypatch.setattr(recipe, "execute", lambda *a, **b: None)
    (tmp_path / "story.yaml").write_text(yaml.safe_dump({"name": "story", "stages": {"a": {"command": "shard"}}}))
    recipe.run(tmp_path / "story.yaml", out=tmp_path / "runs")
    stage = tmp_path / "runs/story/seed0/main/a"
    (stage / "stage.json").unlink()
    keep = ["queries.partial/journal.12.34", "run.parquet.partial/0.npy", "out/answers.jsonl.partial"]
    drop = ["scores.jsonl.12.partial", "out/run.parquet.7.partial"]
    for name in [*keep, *drop]:
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        (stage / name).write_text("x")
    recipe.run(tmp_path / "story.yaml", out=tmp_path / "runs")
    left = {path.relative_to(stage).as_posix() for path in stage.rglob("*") if path.is_file()}
    assert left == {*keep, "stage.json", "started.json"}


def test_a_stage_that_all_seeds_share_keeps_the_seed_that_it_was_run_with(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "execute", lambda *a, **b: None)
    stages = {"a": {"command": "evaluate", "shared": True}, "b": {"command": "evaluate"}}
    (tmp_path / "story.yaml").write_text(yaml.safe_dump({"name": "story", "stages": stages}))
    for seed in (1, 0):
        recipe.run(tmp_path / "story.yaml", seed=seed, out=tmp_path / "runs")
    marks = sorted((tmp_path / "runs").rglob("stage.json"))
    assert [json.loads(mark.read_text())["labels"]["seed"] for mark in marks] == [0, 1, 1]
