"""The path of a 7B run on a small one, by the command line: M_rand in chunks, mining, M_hard, merge, evaluate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lit_mmembed import Retriever
from lit_mmembed.retrieval.store import Store
from tests.encoders.small_mllm import POOLING, llava_folder, nv_embed_folder
from tests.tiny import ROOT, Tiny, done, json_lines, rows
from tests.training.callbacks import Stopped

STEPS = 6
SETTINGS = {
    "data.batch_size": 8,
    "data.validation_queries": 2,
    "model.chunk_tokens": 150,
    "trainer.max_steps": STEPS,
    "trainer.val_check_interval": 3,
    "trainer.log_every_n_steps": 1,
    "trainer.enable_progress_bar": "false",
    "resume_every": 2,
}
MINE = ("-c", str(ROOT / "experiments/mine.yaml"), "--trainer.callbacks.init_args.k_prime=15")
BACKBONE = "model.encoder.init_args.backbone.init_args"


def encoder_flags(name: str) -> dict[str, object]:
    lora = {"model.encoder.init_args.lora.dropout": 0.1, "model.encoder.init_args.lora.r": 2}
    if name != "nv_embed_llava":
        return {f"{BACKBONE}.path": llava_folder(), **lora}
    pooling = {f"model.encoder.init_args.pooling.init_args.{key}": value for key, value in POOLING.items()}
    checkpoint = {"model.encoder.init_args.pooling.init_args.checkpoint": nv_embed_folder()}
    parts = {f"{BACKBONE}.llava": llava_folder(), f"{BACKBONE}.nv_embed": nv_embed_folder()}
    return {**parts, **pooling, **checkpoint, **lora}


def fit(tiny: Tiny, name: str, folder: Path, *flags: str, **settings: object) -> Path:
    files = [f"experiments/encoders/{name}_tiny.yaml", "experiments/emoji_beir/train_mllm.yaml"]
    configs = [part for file in files for part in ("-c", str(ROOT / file))]
    given = {**SETTINGS, "data.path": tiny.data, "folder": folder, **encoder_flags(name)}
    given |= {key.replace("__", "."): value for key, value in settings.items()}
    command = ["fit", *configs, *flags, "--allow-imports=tests", *(f"--{key}={value}" for key, value in given.items())]
    if given.get("trainer.devices", 1) == 1:
        done(*command)
    else:
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        program = [sys.executable, "-m", "lit_mmembed"]
        subprocess.run([*program, *command], check=True, cwd=ROOT, env=environment, timeout=500)
    return folder


@pytest.fixture(scope="module", params=["llava_e", "llava_p", "nv_embed_llava"])
def story(request, tiny: Tiny, tmp_path_factory, from_root_module):
    folder = tmp_path_factory.mktemp(request.param)
    fit(tiny, request.param, folder / "rand", *MINE)
    return request.param, folder


@pytest.fixture(scope="module")
def from_root_module():
    """Paths in experiments/ begin at the repository's root."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


def test_only_what_is_trained_is_saved(story):
    _, folder = story
    names = load_file(folder / "rand/model/weights.safetensors").keys()
    assert names and all(".lora_" in name or "multi_modal_projector" in name for name in names)
    assert json.loads((folder / "rand/model/encoder.json").read_text())["base"]


def test_a_resume_point_holds_what_is_trained_alone(story):
    _, folder = story
    kept = torch.load(folder / "rand/resume.ckpt", weights_only=True)
    exported = load_file(folder / "rand/model/weights.safetensors")
    weights = {
        name.removeprefix("encoder."): w for name, w in kept["state_dict"].items() if name.startswith("encoder.")
    }
    assert weights.keys() >= exported.keys()
    assert all(torch.equal(weights[name], exported[name]) for name in exported)
    assert all(".lora_" in name or "multi_modal_projector" in name for name in weights)
    assert any("vision_tower" in name for name in kept["frozen_weights"])


def test_m_hard_trains_on_what_m_rand_mined_and_is_evaluated(story, tiny):
    name, folder = story
    negatives = rows(folder / "rand/negatives.parquet")
    assert {row["kind"] for row in negatives} <= {"wrong_modality", "unsatisfying"} and negatives
    fit(tiny, name, folder / "hard", data__negatives=folder / "rand/negatives.parquet")
    assert len(json_lines(folder / "hard/log.jsonl")) >= STEPS
    done("evaluate", "--model", folder / "hard/model", "--data", tiny.data, "--out", folder / "test", "--tokens", 200)
    assert {json.loads(line)["metric"] for line in (folder / "test/scores.jsonl").open()} >= {
        "hit",
        "modality_accuracy",
    }


def test_a_stopped_run_goes_on_to_the_same_bits_with_dropout(story, tiny, tmp_path):
    name, folder = story
    stop = ["--trainer.callbacks+=tests.training.callbacks.StopAt", "--trainer.callbacks.init_args.step=3"]
    with pytest.raises(Stopped):
        fit(tiny, name, tmp_path / "run", *MINE, *stop)
    fit(tiny, name, tmp_path / "run", *MINE, ckpt_path=tmp_path / "run/resume.ckpt")
    for file in ("log.jsonl", "model/weights.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (folder / "rand" / file).read_bytes(), file


def test_a_merged_model_stands_alone_and_gives_the_same_vectors(story, tiny, tmp_path):
    _, folder = story
    done("merge", "--model", folder / "rand/model", "--out", tmp_path / "whole")
    stores = []
    for place, model in enumerate((folder / "rand/model", tmp_path / "whole")):
        out = tmp_path / f"store{place}"
        done("encode", "--model", model, "--data", tiny.data / "candidates/test", "--out", out, "--dtype", "float32")
        stores.append(torch.from_numpy(Store(out).vectors[:].copy()))
    torch.testing.assert_close(*stores, atol=1e-5, rtol=0)
    found = Retriever.from_pretrained(tmp_path / "whole").encode_candidates(["A red fox 3."])
    assert found.shape == (1, stores[0].shape[1])


def test_two_processes_train_the_weights_of_one(tiny, tmp_path, from_root_module):
    """A large epsilon keeps AdamW from turning the rounding of a vanishing gradient into a step."""
    settings = {"model__optimization__eps": 1e-3, "model__optimization__warmup_steps": 0, "data__batch_size": 7}
    settings |= {"model__encoder__init_args__lora__dropout": 0.0}
    one = fit(tiny, "llava_e", tmp_path / "one", **settings)
    two = fit(tiny, "llava_e", tmp_path / "two", trainer__devices=2, trainer__strategy="ddp", **settings)
    weights = [load_file(run / "model/weights.safetensors") for run in (one, two)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, rtol=1e-4, atol=1e-5)
