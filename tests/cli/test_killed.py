"""`mmembed run`, killed at random points, ends with the weights, rankings and report of an uninterrupted run.

Minutes, so not part of `make test`: `make kill-test`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = 20
REPOSITORY = Path(__file__).parents[2]
RECIPE = "experiments/emoji_beir/quickstart.yaml"
COMPARED = (
    "shared/data/shards/manifest.json",
    "shared/tokenizer/tokenizer.json",
    "seed0/with_instructions/rand/model/weights.safetensors",
    "seed0/with_instructions/rand/log.jsonl",
    "seed0/with_instructions/rand/negatives.parquet",
    "seed0/with_instructions/rand/statistics.json",
    "seed0/with_instructions/hard/model/weights.safetensors",
    "seed0/with_instructions/hard/log.jsonl",
    "seed0/with_instructions/evaluate_rand/run.parquet",
    "seed0/with_instructions/evaluate_hard/run.parquet",
    "seed0/with_instructions/evaluate_hard/run_local.parquet",
    "seed0/with_instructions/evaluate_hard/scores.jsonl",
    "seed0/with_instructions/mllm_rand/model/weights.safetensors",
    "seed0/with_instructions/mllm_rand/negatives.parquet",
    "seed0/with_instructions/mllm_hard/model/weights.safetensors",
    "seed0/with_instructions/evaluate_mllm_hard/run.parquet",
    "seed0/with_instructions/evaluate_mllm_hard/scores.jsonl",
    "shared/report/index.html",
    "shared/report/report.md",
    "shared/report/scores.csv",
)


@pytest.mark.slow
def test_a_run_killed_at_random_points_ends_like_an_uninterrupted_one(tmp_path):
    begun = time.monotonic()
    assert _start(tmp_path / "whole").wait() == 0
    whole = time.monotonic() - begun
    generator = random.Random(0)
    killed = 0
    for attempt in range(KILLS):
        out = tmp_path / f"killed{attempt}"
        begun = time.monotonic()
        killed += _run_with_kills(out, generator, most=KILLS - killed, longest=whole)
        whole = min(whole, time.monotonic() - begun)  # the first run may have had a busy machine
        differ = [name for name in COMPARED if _content(tmp_path / "whole", name) != _content(out, name)]
        assert not differ, f"after {killed} kills"
        if killed == KILLS:
            return
    pytest.fail(f"only {killed} kills in {KILLS} runs")


def _run_with_kills(out: Path, generator: random.Random, *, most: int, longest: float) -> int:
    """Kill and start again until the run ends by itself; return how often it was killed."""
    killed = 0
    while True:
        process = _start(out)
        try:
            limit = generator.uniform(1, longest / 2) if killed < most else None
            assert process.wait(limit) == 0
            return killed
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
            _print_state(out, killed)


def _start(out: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "lit_mmembed", "run", RECIPE, "--smoke", "--out", "runs"]
    out.mkdir(exist_ok=True)
    for name in ("experiments", "data_shards"):  # paths in a recipe are relative to where it is run
        if not (out / name).exists():
            (out / name).symlink_to(REPOSITORY / name)
    with (out / "log.txt").open("a") as log:
        return subprocess.Popen(command, cwd=out, stdout=log, stderr=log, start_new_session=True)


def _content(out: Path, name: str) -> bytes:
    return (out / "runs/emoji_quickstart_smoke" / name).read_bytes()


def _print_state(out: Path, killed: int) -> None:
    stages = [line for line in (out / "log.txt").read_text().splitlines() if line.startswith("[")]
    print(f"kill {killed} of {out.name}: after {stages[-1] if stages else 'the start'}", flush=True)
