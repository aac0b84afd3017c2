"""`mmembed fit` under FSDP2 in two processes, killed and resumed, is the fit of one process; its model can be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from lit_mmembed.retrieval.store import Store
from tests.tiny import ROOT, Tiny, done, json_lines

LIMIT = 500
"""Seconds until two processes that wait for each other count as hanging."""
FSDP2 = ("-c", "experiments/mbeir/machines/fsdp2.yaml", "--trainer.devices=2")
SETTINGS = {
    "model__loss__init_args__learn_temperature": "true",
    "model__optimization__eps": 1e-3,
    "model__optimization__lr": 1e-3,
    "model__optimization__warmup_steps": 0,
    "trainer__accumulate_grad_batches": 2,
    "resume_every": 1,
}


def mining(folder: Path) -> list[str]:
    """The callback that mines after each epoch and at the end."""
    name = "lit_mmembed.training.callbacks.mining.MineNegatives"
    given = {"folder": folder, "depth": 20, "k_prime": 15, "keep_stores": "true", "every_n_epochs": 1}
    return [
        f"--trainer.callbacks+={name}",
        *(f"--trainer.callbacks.init_args.{key}={value}" for key, value in given.items()),
    ]


def in_parts(*command: object) -> int:
    """Run `mmembed` under FSDP2 and return its status."""
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    sharded = [str(part) for part in (*command, *FSDP2)]
    started = [sys.executable, "-m", "lit_mmembed", *sharded]
    return subprocess.run(started, check=False, cwd=ROOT, env=environment, timeout=LIMIT).returncode


@pytest.fixture(scope="module")
def whole(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one process."""
    folder = tmp_path_factory.mktemp("whole")
    done(*tiny.fit(folder, *mining(folder), **SETTINGS))
    return folder


@pytest.fixture(scope="module")
def sharded(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of two that were stopped in the second epoch and went on."""
    folder = tmp_path_factory.mktemp("sharded")
    command = tiny.fit(folder, *mining(folder), **SETTINGS)
    stop = ("--trainer.callbacks+=tests.training.callbacks.StopAt", "--trainer.callbacks.init_args.step=5")
    assert in_parts(*command, *stop, "--allow-imports=tests") != 0
    assert sorted(file.name for file in folder.glob("resume*")) == ["resume.ckpt"]
    assert in_parts(*command, f"--ckpt_path={folder / 'resume.ckpt'}") == 0
    return folder


def test_it_ends_with_the_weights_of_one_process(whole, sharded):
    ours, theirs = (load_file(folder / "model/weights.safetensors") for folder in (sharded, whole))
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-5


def test_it_logs_the_loss_the_gradient_and_the_temperature_of_one_process(whole, sharded):
    ours, theirs = (json_lines(folder / "log.jsonl") for folder in (sharded, whole))
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
        if "train/temperature" in one:
            assert one["train/temperature"] == pytest.approx(other["train/temperature"], rel=2e-6)


def test_it_mines_with_the_weights_of_the_model_folder(whole, sharded):
    description = json.loads((sharded / "model/encoder.json").read_text())
    for side in ("queries", "candidates"):
        ours, theirs = (Store(folder / "mining" / side) for folder in (sharded, whole))
        assert ours.manifest["weights_hash"] == description["weights_hash"]
        np.testing.assert_allclose(ours.vectors, theirs.vectors, atol=2e-3)


def test_its_model_is_loaded_again_and_predict_knows_the_stores_made_with_it(tiny, sharded, tmp_path):
    out = tmp_path / "candidates"
    done("encode", "--model", sharded / "model", "--data", tiny.data / "candidates/test", "--out", out)
    made = out.stat().st_mtime_ns
    writer = "lit_mmembed.training.callbacks.embeddings.EmbeddingWriter"
    flags = (f"--trainer.callbacks+={writer}", f"--trainer.callbacks.init_args.path={out}")
    given = {"data__predict": "candidates/test", "model__weights": sharded / "model"}
    assert in_parts(*tiny.fit(tmp_path / "run", *flags, command="predict", **given)) == 0
    assert out.stat().st_mtime_ns == made
