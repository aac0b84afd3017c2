"""`mmembed fit` in two processes gives the weights of one with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.tiny import IMAGE_ONLY, ROOT, TASK_NAMES, TEXT_ONLY, Tiny, done, json_lines, write_source

LIMIT = 500
"""Seconds until two processes that wait for each other count as hanging."""
KEEP = "--trainer.callbacks+=tests.training.callbacks.KeepBatches"
CASES = {
    "mixed, even": {"data__batch_size": 8, "data__mixing": "mixed"},
    "one task, odd": {"data__batch_size": 7, "data__mixing": "one_task"},
}


@pytest.fixture(scope="module")
def benchmark(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """With `one_task`, some of its batches hold no image and some no text."""
    folder = tmp_path_factory.mktemp("two")
    names = {0: TASK_NAMES[0], **TEXT_ONLY, **IMAGE_ONLY}
    source = write_source(folder / "source", names)
    done("shard", "--source", "mbeir", "--root", source, "--out", folder / "data")
    return tiny._replace(source=source, data=folder / "data")


@pytest.fixture(scope="module", params=CASES, ids=list(CASES))
def runs(request, benchmark: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The run folder of one process and of two, the kept batches beside it."""
    folder = tmp_path_factory.mktemp("runs")
    return {devices: fit(benchmark, folder / f"{devices}", devices, **CASES[request.param]) for devices in (1, 2)}


def fit(benchmark: Tiny, folder: Path, devices: int, **settings: object) -> Path:
    """Six steps. A large epsilon keeps AdamW from turning the rounding of a vanishing gradient into a step."""
    flags = [
        KEEP,
        f"--trainer.callbacks.init_args.path={folder.parent / f'{devices}.batches'}",
        "--allow-imports=tests",
    ]
    settings |= {"trainer__devices": devices, "model__optimization__eps": 1e-3, "model__optimization__warmup_steps": 0}
    if devices > 1:
        settings["trainer__strategy"] = "ddp"
    command = benchmark.fit(folder, *flags, **settings)
    if devices == 1:
        done(*command)
        return folder
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "lit_mmembed", *command], check=True, cwd=ROOT, env=environment, timeout=LIMIT
    )
    return folder


def test_two_processes_end_with_the_weights_of_one(runs):
    one, two = (load_file(runs[devices] / "model/weights.safetensors") for devices in (1, 2))
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5


def test_two_processes_log_the_loss_and_the_gradient_of_one(runs):
    one, two = (json_lines(runs[devices] / "log.jsonl") for devices in (1, 2))
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for ours, theirs in zip(one, two, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def test_two_processes_share_each_global_batch_without_a_rest(runs):
    one, first, second = (
        json_lines(runs[devices].parent / name)
        for devices, name in ((1, "1.batches.0"), (2, "2.batches.0"), (2, "2.batches.1"))
    )
    for whole, left, right in zip(one, first, second, strict=True):
        assert whole["document_ids"] == left["document_ids"] + right["document_ids"]
        assert 0 <= len(left["positive"]) - len(right["positive"]) <= 1


def test_the_run_of_two_processes_is_exported_once_and_whole(runs):
    one, two = (sorted(str(p.relative_to(runs[d])) for p in runs[d].rglob("*") if p.is_file()) for d in (1, 2))
    assert one == two
    assert json.loads((runs[2] / "model/encoder.json").read_text())["weights_hash"]
