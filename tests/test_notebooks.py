"""The notebooks are valid, kept without outputs, and say nothing of the machine they were written on.

`make notebooks` executes them; CI does so at smoke size after the tests.
"""

from __future__ import annotations

import json
import re

import nbformat
import pytest

from lit_mmembed.cli.recipe import load, resolve
from tests.tiny import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:home|tmp|root|work|mnt|data|usr|Users)/|[A-Z]:\\\\")
LARGEST = 40_000
"""Bytes: a notebook with an output would be larger."""


def cells_of(path, kind):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def test_there_are_seven_of_them_in_order():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number}_" for number in range(1, 8)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_has_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < LARGEST
    for cell in cells_of(path, "code"):
        assert cell.outputs == [] and cell.execution_count is None
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_names_no_path_of_a_machine(path):
    assert not ABSOLUTE.search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_its_number_and_title(path):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith(f"# {path.name[0]}. ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_links_of_a_notebook_lead_somewhere(path):
    for cell in cells_of(path, "markdown"):
        for target in re.findall(r"\]\(([^)#]+)\)", cell.source):
            assert (path.parent / target).exists() or target.startswith("https://"), target


def test_the_small_run_of_the_notebooks_is_a_recipe_with_every_system_they_ask_for(from_root, tmp_path):
    recipe = ROOT / "notebooks/smoke.yaml"
    stages = resolve(load(recipe), seed=0, out=tmp_path, file=recipe)
    systems = {
        (stage.labels["model"], stage.labels["instructions"])
        for stage in stages.values()
        if stage.command == "evaluate"
    }
    assert systems == {("M_rand", "with"), ("control", "with"), ("M_hard", "with"), ("M_rand", "without")}


def test_an_absolute_path_would_be_seen(tmp_path):
    assert ABSOLUTE.search(json.dumps({"source": "open('/home/me/runs')"}))
    assert not ABSOLUTE.search('"runs/emoji", https://host/data/x, ](../data_shards/README.md)')
