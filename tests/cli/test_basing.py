"""`base` and `only`: a recipe that takes some stages of another, with all that they read."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_mmembed.cli.recipe import load
from lit_mmembed.errors import InputError

BASE = """
name: base
stages:
  data: {command: shard, shared: true, arguments: {out: "${folder}"}}
  rand: {command: fit, arguments: {data.path: "${stage:data}/shards"}}
  hard: {command: fit, arguments: {data.negatives: "${stage:rand}/negatives.parquet", data.path: "${stage:data}"}}
  joint: {command: fit, arguments: {sources: [{path: "${stage:texts}"}]}}
  texts: {command: shard, arguments: {out: "${folder}"}}
"""


def stages(tmp_path: Path, own: str) -> list[str]:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "own.yaml").write_text(f"base: base.yaml\n{own}\n")
    return list(load(tmp_path / "own.yaml").stages)


def test_without_only_all_of_the_base_is_there(tmp_path):
    assert stages(tmp_path, "name: own") == ["data", "rand", "hard", "joint", "texts"]


def test_only_keeps_what_is_named_with_what_it_reads_at_any_depth(tmp_path):
    assert stages(tmp_path, "only: [hard]") == ["data", "rand", "hard"]
    assert stages(tmp_path, "only: [joint]") == ["joint", "texts"]


def test_own_stages_are_added_to_what_was_kept(tmp_path):
    own = 'only: [rand]\nstages: {look: {command: evaluate, arguments: {model: "${stage:rand}/model"}}}'
    assert stages(tmp_path, own) == ["data", "rand", "look"]


def test_only_is_not_part_of_the_recipe_that_comes_out(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "own.yaml").write_text("base: base.yaml\nonly: [hard]\n")
    (tmp_path / "third.yaml").write_text("base: own.yaml\nonly: [rand]\n")
    assert list(load(tmp_path / "third.yaml").stages) == ["data", "rand"]


def test_a_stage_that_the_base_has_not_is_named(tmp_path):
    with pytest.raises(InputError, match="`only` names \\['medium'\\]"):
        stages(tmp_path, "only: [medium]")
