"""`mmembed plan A B`: recipes that share a run folder or a file's name, in any order, and beside broken run folders."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from tests.cli.test_plan_recipe import plan, shard_stage, write
from tests.tiny import done

MODEL = {"command": "convert", "arguments": {"uniir": "clip.pth", "out": "${folder}/model"}}
EVALUATED = {"model": "${stage:model}/model", "data": "${stage:data}/shards", "out": "${folder}"}


def evaluate(**more: object) -> dict:
    return {"command": "evaluate", "arguments": {**EVALUATED, **more}}


@pytest.fixture
def recipes(tmp_path: Path) -> list[Path]:
    """Two recipes of one run folder, of which each has an evaluation of its own, and one of another."""
    common = {"data": shard_stage("M-BEIR"), "model": MODEL}
    first = write(tmp_path / "first.yaml", "both", {**common, "test": evaluate(split="test")})
    second = write(tmp_path / "second.yaml", "both", {**common, "val": evaluate(split="val")})
    third = write(tmp_path / "third.yaml", "third", {"data": shard_stage("M-BEIR"), "test": {**MODEL}})
    return [first, second, third]


def test_the_sum_is_the_same_in_every_order(recipes, tmp_path):
    found = []
    for order in itertools.permutations(recipes):
        file = tmp_path / "plan.json"
        done("plan", *order, "--out", tmp_path / "runs", "--json", file)
        total = json.loads(file.read_text())["total"]
        found.append((total["stages"], total["counted"], total["same"], total["gpu_hours"], total["disk"]))
    assert all(other == pytest.approx(found[0]) for other in found)
    assert found[0][:3] == (6, 4, 2)  # of the third both are the same as those of the others


def test_what_recipes_of_one_run_folder_have_in_common_is_listed_once(recipes, tmp_path):
    both = write(tmp_path / "both.yaml", "sum", {"model": MODEL}, recipes=["first.yaml", "second.yaml"])
    found = plan(tmp_path, both)
    assert [stage["stage"] for stage in found["stages"]] == ["data", "model", "test", "val", "model"]
    hours = {stage["stage"]: stage.get("gpu_hours") for stage in found["stages"]}
    assert hours["test"] > 0 and hours["val"] > 0


def test_files_of_one_name_have_a_line_each_and_a_file_named_twice_has_one(recipes, tmp_path):
    names = [write(tmp_path / folder / "table.yaml", folder, {"model": MODEL}) for folder in ("large", "small")]
    again = tmp_path / "small/../small/table.yaml"
    printed = done("plan", *names, again, recipes[2], "--out", tmp_path / "runs", "--json", tmp_path / "plan.json").out
    lines = [line.split()[0] for line in printed.splitlines()]
    assert lines[:5] == ["recipe", "large/table", "small/table", "third", "all"]
    assert list(json.loads((tmp_path / "plan.json").read_text())["alone"]) == lines[1:4]


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_broken_mark_of_some_run_folder_does_not_stop_a_plan(recipes, tmp_path, content):
    mark = tmp_path / "runs/old/seed0/main/fit/stage.json"
    mark.parent.mkdir(parents=True)
    mark.write_text(content)
    assert plan(tmp_path, recipes[0])["total"]["done"] == 0
