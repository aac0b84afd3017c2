"""experiments/paper: the report of each table reads the run folders that its recipes make; every cell is there."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lit_mmembed.cli.arguments import parser
from lit_mmembed.cli.composing import recipes_of
from lit_mmembed.cli.execution import stage_flags
from lit_mmembed.cli.resolving import Stage, resolve
from lit_mmembed.evaluation.mteb.names import MTEB15
from tests.tiny import ROOT

PAPER = ROOT / "experiments/paper"
TABLES = sorted(path.relative_to(PAPER).as_posix() for path in PAPER.rglob("*.yaml"))
Labels = dict[str, Any]


def system(model: str, encoder: str, **more: str) -> Labels:
    """The labels of a cell's evaluation; `reranker` and `set` count also where they are not given."""
    return {"model": model, "encoder": encoder, "reranker": None, "set": None, **more}


def reranked(models: list[Labels], rerankers: list[str], **more: str) -> list[Labels]:
    return [{**model, "reranker": reranker, **more} for model in models for reranker in rerankers]


RAND = [system("M_rand", encoder, split="test") for encoder in ("CLIP_SF", "LLaVA-E", "LLaVA-P", "NV-Embed")]
HARD = [system("M_hard", encoder, split="test") for encoder in ("CLIP_SF", "LLaVA-P", "NV-Embed")]
FINAL = [system("MM-Embed", "NV-Embed", split="test")]
MTEB = [
    system(*names, set="texts")
    for names in (("M_hard", "LLaVA-P"), ("M_hard", "NV-Embed"), ("MM-Embed", "NV-Embed"), ("zero-shot", "NV-Embed"))
]
STARTED = [("CLIP", "without"), ("LLaVA-P", "without"), ("NV-Embed", "without"), ("NV-Embed", "with")]
INSTRUCTED = [system("zero-shot", encoder, instructions=given) for encoder, given in STARTED]
INSTRUCTED += [system("M_rand", "NV-Embed", instructions=given) for given in ("without", "with")]
CURRICULA = [system(model, "NV-Embed", split="test") for model in ("multimodal only", "joint", "M_hard", "continual")]
CURRICULA_TEXTS = [
    system(model, "NV-Embed", set="texts") for model in ("zero-shot", "multimodal only", "joint", "M_hard", "continual")
]
CIRCO = [system("M_rand", "CLIP_SF"), *(system("M_hard", name) for name in ("LLaVA-P", "NV-Embed")), *FINAL]
CELLS: dict[str, list[Labels]] = {
    "table1.yaml": [*RAND, *HARD, *FINAL, *MTEB[:3]],
    "table2.yaml": [*RAND, *HARD],
    "table3.yaml": reranked([HARD[2], *FINAL], ["none", "7B"]),
    "table4.yaml": reranked(CIRCO, ["none", "7B"], set="circo", split="val"),
    "table5.yaml": [{**cell, "split": "val"} for cell in INSTRUCTED],
    "table6.yaml": [*CURRICULA, *CURRICULA_TEXTS],
    "table7.yaml": reranked([RAND[0]], ["none", "7B", "34B"], split="val"),
    "table9.yaml": MTEB,
}
"""The labels of the evaluations that each table of the paper consists of."""
IN_SMALL: dict[str, list[Labels]] = {
    "small/table1.yaml": [*RAND, *HARD, *FINAL, *MTEB[1:3]],
    "small/table2.yaml": [*RAND, *HARD],
    "small/table3.yaml": reranked([HARD[2], *FINAL], ["none", "zero-shot"]),
    "small/table5.yaml": INSTRUCTED,
    "small/table6.yaml": [*CURRICULA[1:], CURRICULA_TEXTS[0], *CURRICULA_TEXTS[2:]],
    "small/table7.yaml": reranked([RAND[0]], ["none", "zero-shot"], split="val"),
    "small/table9.yaml": MTEB[1:],
}
"""What EmojiBEIR has of them: no CIRCO, no LLaVA-P on texts, no run on multimodal data alone for 2,000 steps."""
SAME = {"MM-Embed": {"MM-Embed", "continual"}}
"""What MM-Embed's column is called in the recipes."""


@cache
def made(table: str, *, smoke: bool = False) -> tuple[dict[str, dict[str, Stage]], Stage]:
    """The stages of a table by run folder, and its report."""
    recipes = recipes_of(PAPER / table, [], smoke=smoke)
    stages = {
        str(Path("runs") / content.name): resolve(content, seed=0, out=Path("runs"), file=file)
        for file, content in recipes
    }
    return stages, list(stages.values())[-1]["report"]


@pytest.fixture(autouse=True)
def in_root(from_root: None) -> None:
    """Paths in experiments/ begin at the repository's root."""


def test_every_table_that_runs_can_fill_has_a_recipe():
    assert set(TABLES) == {*CELLS, *IN_SMALL}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("smoke", [False, True])
def test_the_report_reads_the_run_folders_of_its_recipes(table, smoke):
    stages, report = made(table, smoke=smoke)
    number = int(table.removesuffix(".yaml")[-1])
    assert report.always and report.arguments["paper"] == [number]
    assert sorted(report.arguments["run_dir"]) == sorted(list(stages)[:-1])
    parser().parse_args(["report", *stage_flags("report", report.arguments)])


@pytest.mark.parametrize("table", TABLES)
def test_every_cell_of_the_table_has_an_evaluation_with_its_labels(table):
    stages, report = made(table)
    evaluations = [
        stage.labels
        for folder in report.arguments["run_dir"]
        for stage in stages[folder].values()
        if stage.command == "evaluate" and stage.labels.get("in_report", True)
    ]
    for cell in {**CELLS, **IN_SMALL}[table]:
        fits = [found for found in evaluations if is_of(cell, found)]
        assert fits, f"no stage is {cell}"


def is_of(cell: Labels, found: Labels) -> bool:
    wanted = {**cell, "model": SAME.get(cell["model"], {cell["model"]})}
    asked = {key: found.get(key) for key in cell}
    return asked.pop("model") in wanted.pop("model") and asked == wanted


@pytest.mark.parametrize("table", TABLES)
def test_no_two_evaluations_of_a_run_folder_are_the_same_cell(table):
    """The report could not tell which one to show."""
    for stages in made(table)[0].values():
        keys = ("model", "encoder", "instructions", "split", "set", "reranker")
        labels = [
            tuple(stage.labels.get(key) for key in keys)
            for stage in stages.values()
            if stage.command == "evaluate" and stage.labels.get("in_report", True)
        ]
        assert len(labels) == len(set(labels))


@pytest.mark.parametrize("table", sorted(CELLS))
def test_evaluations_are_of_what_the_paper_says(table):
    stages = [stage for several in made(table)[0].values() for stage in several.values()]
    for stage in stages:
        named = stage.arguments.get("mteb")
        if table == "table6.yaml" and named:
            sets = ["ArguAna", "FiQA", "NFCorpus", "Quora", "SCIDOCS", "SciFact", "TREC-COVID"]
            assert [MTEB15[name] for name in named] == sets
        elif named:
            assert named == ["mteb15"]
        if stage.command == "rerank":
            assert stage.arguments["k"] == 10
        if stage.labels.get("set") == "circo":
            assert stage.arguments["protocol"] == "circo"
        if stage.command == "evaluate" and "split" in stage.arguments:
            assert stage.arguments["split"] == stage.labels["split"]


def test_table_3_asks_about_tasks_6_to_8_and_table_7_about_all():
    tasks = [
        stage.arguments["tasks"]
        for stage in made("table3.yaml")[0]["runs/mbeir_reranking"].values()
        if is_rerank(stage)
    ]
    assert tasks == 2 * [
        ["oven_task6", "infoseek_task6", "fashioniq_task7", "cirr_task7", "oven_task8", "infoseek_task8"]
    ]
    assert not any("tasks" in stage.arguments for stage in made("table7.yaml")[0]["runs/mbeir_reranking_dev"].values())


@pytest.mark.parametrize(
    ("table", "folder"), [("table5.yaml", "mbeir_instructions"), ("table7.yaml", "mbeir_reranking_dev")]
)
def test_development_queries_are_asked_over_all_documents(table, folder):
    stages = made(table)[0][f"runs/{folder}"]
    assert stages["dev"].arguments["val_pool"] == "local"
    of_val = [
        stage for stage in stages.values() if "val" in (stage.labels.get("split"), stage.arguments.get("data.predict"))
    ]
    assert of_val and all("dev" in stage.needs for stage in of_val)


def is_rerank(stage: Stage) -> bool:
    return stage.command == "rerank"
