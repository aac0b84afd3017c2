"""Recipes: stages run once, again when what they depend on has changed, and go on where they were killed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lit_mmembed.cli import recipe as recipes
from tests.tiny import done, mmembed

RECIPE = {
    "name": "story",
    "vars": {"vocabulary": 300, "per_query": 2},
    "smoke": {"vocabulary": 270},
    "stages": {
        "last": {"command": "doctor", "always": True, "arguments": {}},
        "data": {
            "command": "shard",
            "shared": True,
            "arguments": {"source": "mbeir", "root": "${vars.root}", "out": "${folder}/shards"},
        },
        "tokenizer": {
            "command": "tokenizer",
            "shared": True,
            "arguments": {
                "data": "${stage:data}/shards",
                "out": "${folder}/tokenizer.json",
                "vocab_size": "${vars.vocabulary}",
            },
        },
        "negatives": {
            "command": "mine",
            "arguments": {
                "queries": "${stage:data}/shards/queries/train",
                "candidates": "${stage:data}/shards/candidates/train",
                "random": "${vars.per_query}",
                "seed": "${seed}",
                "out": "${folder}/negatives.parquet",
            },
        },
    },
}


@pytest.fixture
def story(tiny, tmp_path) -> Path:
    content = json.loads(json.dumps(RECIPE))
    content["vars"]["root"] = str(tiny.source)
    (tmp_path / "story.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path / "story.yaml"


def run(story: Path, *flags: object) -> list[str]:
    """Run the recipe; return the names of the stages that ran, in their order."""
    printed = done("run", story, "--out", story.parent / "runs", *flags).out.splitlines()
    return [line.split()[1] for line in printed if line.startswith("[") and "->" in line]


def test_stages_run_in_order_with_those_that_always_run_at_the_end(story):
    assert run(story) == ["data", "tokenizer", "negatives", "last"]
    assert [folder.name for folder in (story.parent / "runs").iterdir()] == ["story"]


def test_what_is_done_is_skipped_and_another_seed_shares_what_is_shared(story):
    run(story)
    assert run(story) == ["last"]
    assert run(story, "--seed", 1) == ["negatives", "last"]
    tables = [story.parent / f"runs/story/seed{seed}/main/negatives/negatives.parquet" for seed in (0, 1)]
    assert tables[0].read_bytes() != tables[1].read_bytes()


def test_a_changed_variable_runs_again_only_what_depends_on_it(story):
    run(story)
    assert run(story, "--set", "vars.per_query=3") == ["negatives", "last"]
    assert run(story, "--set", "vars.per_query=3") == ["last"]
    assert run(story, "--set", "vars.per_query=3", "vars.vocabulary=280") == ["tokenizer", "last"]


def test_a_changed_stage_runs_again_those_that_read_it(story, tiny, tmp_path):
    run(story)
    other = tmp_path / "other"
    other.symlink_to(tiny.source)
    assert run(story, "--set", f"vars.root={other}") == ["data", "tokenizer", "negatives", "last"]


def test_smoke_has_its_own_settings_and_folder(story):
    run(story)
    assert run(story, "--smoke") == ["tokenizer", "last"], "what has the same settings is taken over"
    stage = json.loads((story.parent / "runs/story_smoke/shared/tokenizer/stage.json").read_text())
    assert stage["arguments"]["vocab_size"] == 270
    assert run(story) == ["last"]


def test_a_variant_says_only_what_differs(story):
    run(story)
    variant = story.with_name("variant.yaml")
    variant.write_text(yaml.safe_dump({"base": story.name, "variant": "many", "vars": {"per_query": 4}}))
    assert run(variant) == ["negatives", "last"]
    assert (story.parent / "runs/story/seed0/many/negatives/stage.json").exists()


def test_a_stage_that_failed_keeps_its_files_for_the_same_stage_alone(story, tiny, monkeypatch):
    def broken(command, arguments, *, folder, **rest):
        (folder / "half").touch()
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(recipes, "execute", broken)
        for _ in range(2):
            with pytest.raises(RuntimeError):
                recipes.run(story, out=story.parent / "runs")
    half = story.parent / "runs/story/shared/data/half"
    assert half.exists()
    assert not (half.parent / "stage.json").exists()
    run(story)
    assert half.exists(), "a stage goes on with what it had written"
    other = story.parent / "other"
    other.symlink_to(tiny.source)
    run(story, "--set", f"vars.root={other}")
    assert not half.exists(), "another stage does not"


def test_a_change_of_what_the_recipe_does_not_have_is_refused(story):
    for change in ("vars.vocabulary", "nonsense.key=1"):
        refused = mmembed("run", story, "--out", story.parent / "runs", "--set", change)
        assert refused.status == 2
        assert change.split("=")[0] in refused.err
        assert len(refused.err.splitlines()) == 1


def test_a_stage_runs_after_those_it_reads_whatever_the_order_in_the_file(story):
    content = yaml.safe_load(story.read_text())
    content["stages"] = dict(reversed(content["stages"].items()))
    story.write_text(yaml.safe_dump(content, sort_keys=False))
    assert run(story) == ["data", "negatives", "tokenizer", "last"]


def test_stages_that_read_each_other_are_refused(story):
    content = yaml.safe_load(story.read_text())
    content["stages"]["data"]["arguments"]["root"] = "${stage:negatives}/x"
    story.write_text(yaml.safe_dump(content, sort_keys=False))
    ran = mmembed("run", story, "--out", story.parent / "runs")
    assert ran.status == 2 and "stages read each other" in ran.err
    assert "data reads negatives reads data" in ran.err


def test_another_label_is_written_down_without_running_the_stage_again(story):
    run(story)
    content = yaml.safe_load(story.read_text())
    content["stages"]["negatives"]["labels"] = {"model": "control"}
    story.write_text(yaml.safe_dump(content, sort_keys=False))
    assert run(story) == ["last"]
    marks = list(story.parent.rglob("negatives/stage.json"))
    assert [json.loads(mark.read_text())["labels"]["model"] for mark in marks] == ["control"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stages": {"data": None}}, "stage data: is not a mapping"),
        ({"stages": {"data": {"command": "shard", "arguments": ["a"]}}}, "stage data: `arguments` is not a mapping"),
        ({"stages": {"data": {"command": "fit", "config": "a.yaml"}}}, "stage data: `config` is not a list"),
        ({"labels": ["a"]}, "`labels` is not a mapping"),
        ({"only": ["data"]}, "`only` is about the stages of a `base`"),
    ],
)
def test_a_recipe_of_another_shape_is_refused_in_one_line(story, changes, told):
    story.write_text(yaml.safe_dump({**yaml.safe_load(story.read_text()), **changes}))
    ran = mmembed("run", story, "--out", story.parent / "runs")
    assert ran.status == 2 and told in ran.err and ran.err.count("\n") == 1


def test_what_is_left_empty_is_as_if_it_were_not_there(story):
    content = yaml.safe_load(story.read_text())
    content["stages"]["data"]["labels"] = None
    story.write_text(yaml.safe_dump({**content, "labels": None, "smoke": None, "name": 2024}, sort_keys=False))
    assert run(story) == ["data", "tokenizer", "negatives", "last"]
    assert run(story, "--smoke") == ["last"]
    assert {folder.name for folder in (story.parent / "runs").iterdir()} == {"2024", "2024_smoke"}


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS"])
def test_a_recipe_that_is_started_once_for_each_gpu_is_refused(story, monkeypatch, name):
    monkeypatch.setenv(name, "8")
    ran = mmembed("run", story, "--out", story.parent / "runs")
    assert ran.status == 2 and f"one of 8 processes ({name})" in ran.err and ran.err.count("\n") == 1
    assert not (story.parent / "runs").exists()
    monkeypatch.setenv(name, "1")
    assert run(story) == ["data", "tokenizer", "negatives", "last"]
