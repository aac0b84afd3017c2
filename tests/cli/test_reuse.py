"""A finished stage of another run folder is taken over, whole or not at all; neither run changes the other's files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from lit_mmembed.cli import recipe as recipes
from lit_mmembed.cli import reuse
from lit_mmembed.encoders.pretrained import load_encoder
from lit_mmembed.files import read_json
from tests.encoders.initial_folders import config_of, tokenizer_folder
from tests.tiny import ROOT, Tiny, done

PLACE = "seed0/main/rand"


@pytest.fixture
def executed(tmp_path, monkeypatch) -> list[str]:
    """Recipes `first` and `second` of the same stages; the folders of what was run, in place of running it."""
    for name in ("first", "second"):
        data = {"command": "shard", "shared": True, "labels": {"model": name}}
        rand = {"command": "fit", "labels": {"model": name}, "arguments": {"data": "${stage:data}/shards"}}
        last = {"command": "doctor", "always": True}
        content = {"name": name, "stages": {"data": data, "rand": rand, "last": last}}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    found: list[str] = []

    def execute(command, arguments, *, config, folder, seed):
        found.append(folder.relative_to(tmp_path / "runs").as_posix())
        (folder / "model").mkdir(exist_ok=True)
        for file in ("model/weights.safetensors", "model/encoder.json", "log.jsonl", "resume.ckpt", "half.partial"):
            (folder / file).write_text(f"{command} {seed}")
        if not (folder / "latest").exists():
            (folder / "latest").symlink_to("model/weights.safetensors")

    monkeypatch.setattr(recipes, "execute", execute)
    return found


def run(tmp_path: Path, name: str, *flags: object) -> str:
    return done("run", tmp_path / f"{name}.yaml", "--out", tmp_path / "runs", *flags).out


def test_what_another_run_folder_has_is_not_run_again(executed, tmp_path):
    run(tmp_path, "first")
    executed.clear()
    printed = run(tmp_path, "second")
    assert executed == ["second/seed0/main/last"], "what always runs is never taken over"
    assert f"[2/3] rand (fit): reused from first/{PLACE}" in printed
    executed.clear()
    assert "[2/3] rand (fit): done before" in run(tmp_path, "second")


def test_its_mark_says_whose_it_was_and_what_the_recipe_calls_it_now(executed, tmp_path):
    run(tmp_path, "first")
    mark = tmp_path / f"runs/first/{PLACE}/stage.json"
    told = {**read_json(mark), "record": {"commit": "then"}}
    recipes.write_json(mark, told)
    run(tmp_path, "second")
    found = read_json(tmp_path / f"runs/second/{PLACE}/stage.json")
    assert found.pop("reused_from") == f"first/{PLACE}"
    arguments = {"data": str(tmp_path / "runs/second/shared/data/shards")}
    assert found == {**told, "labels": {"model": "second", "seed": 0}, "arguments": arguments}


def test_another_seed_or_another_setting_is_run(executed, tmp_path):
    run(tmp_path, "first")
    executed.clear()
    run(tmp_path, "second", "--seed", 1)
    assert executed == ["second/seed1/main/rand", "second/seed1/main/last"], "what seeds share is taken over"
    run(tmp_path, "second", "--set", "stages.rand.arguments.lr=1")
    assert executed[2:] == ["second/seed0/main/rand", "second/seed0/main/last"]


def test_only_files_that_are_never_written_again_are_the_same_file(executed, tmp_path):
    run(tmp_path, "first")
    run(tmp_path, "second")
    first, second = (tmp_path / f"runs/{name}/{PLACE}" for name in ("first", "second"))
    files = {"model/weights.safetensors", "model/encoder.json", "log.jsonl", "resume.ckpt"}
    assert {file for file in files if (first / file).samefile(second / file)} == {"model/weights.safetensors"}
    assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)
    assert not (second / "half.partial").exists()
    shutil.rmtree(first)
    assert (second / "latest").read_text() == "fit 0", "a link inside leads to the folder's own file"


def test_a_file_system_without_hard_links_gets_copies(executed, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError("not supported")

    run(tmp_path, "first")
    monkeypatch.setattr(os, "link", refuse)
    run(tmp_path, "second")
    first, second = (tmp_path / f"runs/{name}/{PLACE}/model/weights.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes() and not first.samefile(second)


@pytest.mark.parametrize("survived", range(9))
def test_killed_at_any_file_half_a_copy_is_not_done_and_the_next_run_has_all(executed, tmp_path, survived):
    run(tmp_path, "first")
    stage = recipes.resolve(recipes.load(tmp_path / "second.yaml"), seed=0, out=tmp_path / "runs", file=tmp_path)[
        "rand"
    ]
    child = os.fork()
    if not child:
        copied = iter(range(survived))
        for module, name in ((os, "link"), (shutil, "copy2"), (os, "fsync")):
            real = getattr(module, name)
            setattr(module, name, lambda *a, real=real: real(*a) if next(copied, None) is not None else os._exit(9))
        reuse.Finished(tmp_path / "runs").take_over(stage.fingerprint, stage.folder)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not list((tmp_path / "runs/second").rglob("stage.json"))
    executed.clear()
    run(tmp_path, "second")
    assert executed == ["second/seed0/main/last"]
    assert (stage.folder / "resume.ckpt").exists() and (stage.folder / "model/weights.safetensors").exists()
    assert not list((tmp_path / "runs").glob("**/rand.*.partial")), "half a copy is removed"


def test_a_folder_that_is_removed_meanwhile_is_not_taken(executed, tmp_path, monkeypatch):
    run(tmp_path, "first")
    real = reuse._take

    def remove(source: Path, target: Path) -> None:
        real(source, target)
        if source.name == "resume.ckpt":
            (source.parent / "stage.json").unlink()

    monkeypatch.setattr(reuse, "_take", remove)
    executed.clear()
    run(tmp_path, "second")
    assert executed == ["second/shared/data", f"second/{PLACE}", "second/seed0/main/last"]
    assert "reused_from" not in read_json(tmp_path / f"runs/second/{PLACE}/stage.json")


def test_fresh_takes_nothing_over_and_runs_again_what_was(executed, tmp_path):
    run(tmp_path, "first")
    run(tmp_path, "second")
    executed.clear()
    run(tmp_path, "second", "--fresh")
    assert executed == ["second/shared/data", f"second/{PLACE}", "second/seed0/main/last"]
    executed.clear()
    run(tmp_path, "second", "--fresh")
    assert executed == ["second/seed0/main/last"], "what this run folder has measured itself is done"


def test_a_broken_mark_of_another_run_folder_stops_nothing(executed, tmp_path):
    run(tmp_path, "first")
    (tmp_path / "runs/first/shared/data/stage.json").write_text("{")
    (tmp_path / f"runs/first/{PLACE}/stage.json").write_text("[]")
    executed.clear()
    run(tmp_path, "second")
    assert len(executed) == 3


def test_an_adapter_that_was_taken_over_loads_when_the_first_run_is_gone(tiny: Tiny, tmp_path, from_root):
    """A model folder names its checkpoint by a path from itself: to the same stage of the run folder that it is in."""
    backbone = "model.encoder.init_args.backbone.init_args.path"
    made = {"kind": "llava_next", "config": str(config_of("llava_next", tmp_path)), "out": "${folder}/checkpoint"}
    fit = {"data.path": str(tiny.data), "data.batch_size": 8, "trainer.max_steps": 0, "trainer.limit_val_batches": 0}
    fit[backbone] = "${stage:llava}/checkpoint"
    files = [f"experiments/{file}.yaml" for file in ("encoders/llava_e_tiny", "emoji_beir/train_mllm")]
    stages = {
        "llava": {"command": "initial", "arguments": {**made, "tokenizer": str(tokenizer_folder(tmp_path))}},
        "rand": {"command": "fit", "config": files, "arguments": fit},
    }
    for name, variant in (("first", "main"), ("second", "other")):
        recipe = tmp_path / f"{name}.yaml"
        recipe.write_text(yaml.safe_dump({"name": name, "variant": variant, "stages": stages}))
        printed = done("run", recipe, "--out", tmp_path / "runs").out
    assert printed.count("reused from first/seed0/main/") == 2
    shutil.rmtree(tmp_path / "runs/first")
    model = tmp_path / "runs/second/seed0/other/rand/model"
    assert not (ROOT / "llava_next").exists() and load_encoder(model).own_names()
