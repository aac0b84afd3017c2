"""Recipes of recipes: each is run once, into its own run folder, before the one that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lit_mmembed.cli import recipe as recipes
from lit_mmembed.cli.composing import recipes_of
from lit_mmembed.files import read_json
from tests.tiny import done, mmembed

SHARD = {"command": "shard", "shared": True, "arguments": {"root": "${vars.root}", "out": "${folder}/shards"}}
TRAIN = {"command": "tokenizer", "arguments": {"data": "${stage:data}", "size": "${vars.size}"}}
REPORT = {
    "command": "report",
    "shared": True,
    "always": True,
    "arguments": {"run_dir": ["${out}/one", "${out}/two"], "out": "${folder}"},
}


@pytest.fixture
def ran(tmp_path, monkeypatch) -> list[tuple[str, dict, int]]:
    """One and two, which a table in another folder is made of; the stages that are run, in place of running them."""
    one = {"name": "one", "vars": {"root": "a", "size": 3}, "smoke": {"size": 1}, "stages": {"data": SHARD}}
    two = {"base": "one.yaml", "name": "two", "vars": {"depth": 5}, "stages": {"fit": TRAIN}}
    table = {"name": "table", "recipes": ["../parts/one.yaml", "../parts/two.yaml"], "stages": {"report": REPORT}}
    for place, content in {"parts/one": one, "parts/two": two, "tables/table": table}.items():
        write(tmp_path, place, content)
    found: list[tuple[str, dict, int]] = []

    def execute(command, arguments, *, config, folder, seed):
        found.append((folder.relative_to(tmp_path / "runs").as_posix(), arguments, seed))

    monkeypatch.setattr(recipes, "execute", execute)
    return found


def write(tmp_path: Path, place: str, content: dict) -> Path:
    file = tmp_path / f"{place}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(content))
    return file


def run(tmp_path: Path, *flags: object, recipe: str = "tables/table") -> str:
    return done("run", tmp_path / f"{recipe}.yaml", "--out", tmp_path / "runs", *flags).out


def test_each_recipe_has_its_run_folder_and_the_one_that_names_them_comes_last(ran, tmp_path):
    run(tmp_path, "--seed", 4)
    assert [folder for folder, _, _ in ran] == ["one/shared/data", "two/seed4/main/fit", "table/shared/report"]
    assert {seed for _, _, seed in ran} == {4}
    assert ran[-1][1]["run_dir"] == [str(tmp_path / "runs/one"), str(tmp_path / "runs/two")]
    assert read_json(tmp_path / "runs/two/shared/data/stage.json")["reused_from"] == "one/shared/data"


def test_a_second_run_has_only_the_report_to_do(ran, tmp_path):
    run(tmp_path)
    ran.clear()
    run(tmp_path)
    assert [folder for folder, _, _ in ran] == ["table/shared/report"]


def test_smoke_gives_each_its_small_settings_and_folder_and_the_report_finds_them(ran, tmp_path):
    run(tmp_path, "--smoke")
    assert [folder.split("/")[0] for folder, _, _ in ran] == ["one_smoke", "two_smoke", "table_smoke"]
    assert ran[1][1]["size"] == 1
    assert ran[-1][1]["run_dir"] == [str(tmp_path / "runs/one_smoke"), str(tmp_path / "runs/two_smoke")]


def test_a_change_goes_to_every_recipe_that_has_its_key(ran, tmp_path):
    run(tmp_path, "--set", "vars.root=b", "vars.size=7")
    assert (ran[0][1]["root"], ran[1][1]["size"]) == ("b", 7)
    found = recipes_of(tmp_path / "tables/table.yaml", ["vars.depth=9", "name=mine"], smoke=False)
    assert [content.get("vars", {}).get("depth") for _, content in found] == [None, 9, None]
    assert [content.name for _, content in found] == ["one", "two", "mine"], "a name is that of the one that was named"


def test_a_change_that_no_recipe_has_is_refused_before_anything_is_run(ran, tmp_path):
    refused = mmembed("run", tmp_path / "tables/table.yaml", "--out", tmp_path / "runs", "--set", "vars.roots=b")
    assert refused.status == 2 and "vars.roots" in refused.err and len(refused.err.splitlines()) == 1
    assert not ran and not (tmp_path / "runs").exists()


def test_a_recipe_that_two_others_name_is_run_once(ran, tmp_path):
    write(tmp_path, "parts/three", {"name": "three", "recipes": ["one.yaml"]})
    write(tmp_path, "tables/all", {"name": "all", "recipes": ["../parts/three.yaml", "../tables/../parts/one.yaml"]})
    found = recipes_of(tmp_path / "tables/all.yaml", [], smoke=False)
    assert [content.name for _, content in found] == ["one", "three", "all"]


def test_a_recipe_of_nothing_but_recipes_runs_them(ran, tmp_path):
    write(tmp_path, "tables/all", {"name": "all", "recipes": ["../parts/one.yaml", "../parts/two.yaml"]})
    run(tmp_path, recipe="tables/all")
    assert [folder for folder, _, _ in ran] == ["one/shared/data", "two/seed0/main/fit"]


def test_the_recipes_of_a_base_begin_at_the_folder_of_the_base(ran, tmp_path):
    write(tmp_path, "other", {"base": "tables/table.yaml", "name": "other"})
    found = recipes_of(tmp_path / "other.yaml", [], smoke=False)
    assert [content.name for _, content in found] == ["one", "two", "other"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"recipes": ["../tables/table.yaml"]}, "table.yaml runs one.yaml runs table.yaml"),
        ({"recipes": "two.yaml"}, "`recipes` is not a list of files"),
        ({"recipes": ["nowhere.yaml"]}, "nowhere.yaml: does not exist"),
        ({"base": "two.yaml"}, "one.yaml is based on two.yaml is based on one.yaml"),
    ],
)
def test_what_cannot_be_put_together_is_named(ran, tmp_path, changed, said):
    one = yaml.safe_load((tmp_path / "parts/one.yaml").read_text())
    write(tmp_path, "parts/one", {**one, **changed})
    refused = mmembed("run", tmp_path / "tables/table.yaml", "--out", tmp_path / "runs")
    assert refused.status == 2 and said in refused.err and len(refused.err.splitlines()) == 1
    assert not ran
