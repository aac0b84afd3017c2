"""A stage with `each` is written out once for each combination of words."""

from __future__ import annotations

from pathlib import Path

import pytest

from lit_mmembed.cli.recipe import load
from lit_mmembed.cli.resolving import resolve
from lit_mmembed.errors import InputError

RECIPE = """
name: many
stages:
  look:
    each: {model: [{name: rand, label: M_rand, steps: 4}, {name: hard, label: M_hard, steps: 5}], split: [val, test]}
    command: evaluate
    labels: {model: "${each.model.label}", split: "${each.split}"}
    arguments: {split: "${each.split}", k: "${each.model.steps}", out: "${folder}/${each.model}"}
  read:
    each: {split: [val, test]}
    command: report
    arguments: {run_dir: "${stage:look_hard_${each.split}}"}
"""


def stages(tmp_path: Path, text: str):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    return resolve(load(file), seed=0, out=Path("runs"), file=file)


def test_every_combination_is_a_stage_with_its_words_filled_in(tmp_path):
    found = stages(tmp_path, RECIPE)
    assert [name for name in found if name.startswith("look")] == [
        *("look_rand_val", "look_rand_test", "look_hard_val", "look_hard_test")
    ]
    stage = found["look_hard_test"]
    assert stage.labels == {"model": "M_hard", "split": "test", "seed": 0}
    assert stage.arguments == {"split": "test", "k": 5, "out": "runs/many/seed0/main/look_hard_test/hard"}


def test_a_value_keeps_its_type_also_where_it_is_nothing(tmp_path):
    each = "each: {part: [{name: none, lora: null}, {name: some, lora: {r: 8}}]}"
    text = f'name: x\nstages: {{fit: {{{each}, command: fit, arguments: {{lora: "${{each.part.lora}}"}}}}}}'
    found = stages(tmp_path, text)
    assert [stage.arguments["lora"] for stage in found.values()] == [None, {"r": 8}]


def test_a_stage_may_read_one_of_them(tmp_path):
    found = stages(tmp_path, RECIPE)
    assert found["read_val"].needs == ("look_hard_val",)
    assert found["read_test"].arguments["run_dir"] == "runs/many/seed0/main/look_hard_test"


def test_a_recipe_built_on_it_changes_one_of_them(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "other.yaml").write_text("base: recipe.yaml\nstages: {look_rand_val: {arguments: {k: 9}}}\n")
    found = resolve(load(tmp_path / "other.yaml"), seed=0, out=Path("runs"), file=tmp_path / "other.yaml")
    assert (found["look_rand_val"].arguments["k"], found["look_rand_test"].arguments["k"]) == (9, 4)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("each: {split: [val, test]}", "each: [val, test]", "not a mapping of names to lists"),
        ("each: {split: [val, test]}", "each: {split: []}", "not a mapping of names to lists"),
        ("each: {split: [val, test]}", "each: {split: [val, val]}", "two stages have this name"),
        ("each: {split: [val, test]}", 'each: {split: ["a b"]}', "no words"),
        ("each.model.steps", "each.model.step", r"there is no \$\{each.model.step\}"),
        ("each.split", "each.part", r"there is no \$\{each.part\}"),
    ],
)
def test_what_cannot_be_written_out_is_named(tmp_path, before, after, said):
    with pytest.raises(InputError, match=said):
        stages(tmp_path, RECIPE.replace(before, after))
