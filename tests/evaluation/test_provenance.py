"""The commands that a report prints are those that a recipe runs."""

import dataclasses
import shlex
from pathlib import Path

import pytest

from lit_mmembed.cli import stages
from lit_mmembed.cli.commands import LIGHTNING
from lit_mmembed.cli.execution import lightning_flags, stage_flags
from lit_mmembed.evaluation.report import report
from lit_mmembed.evaluation.report.collect import collect
from lit_mmembed.evaluation.report.provenance import command_of
from tests.evaluation.report_world import write_run, write_stage

PLACE = "seed1/with_instructions/judge"
GIVEN = {
    "data.validation_queries": 50,
    "trainer.max_steps": 500,
    "data.negatives": "runs/toy/a b.parquet",
    "data.mixture": {"sources": []},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "toy", models=("M_rand",), seeds=(1,))


def stage_of(run, command, arguments, config=()):
    write_stage(run / PLACE, command, run_dir=run, arguments=arguments)
    (stage,) = (stage for stage in collect(run).stages if stage.place == PLACE)
    return dataclasses.replace(stage, config=list(config))


@pytest.mark.parametrize("command", LIGHTNING)
def test_a_command_of_lightning_has_its_configuration_seed_folder_and_keys_as_they_are(run, command) -> None:
    stage = stage_of(run, command, GIVEN, ["a.yaml", "b.yaml"])
    executed = lightning_flags(command, GIVEN, config=["a.yaml", "b.yaml"], folder=Path("runs/toy") / PLACE, seed=1)
    assert command_of(stage, "runs/toy") == ["mmembed", *executed]
    assert "--data.validation_queries=50" in executed


@pytest.mark.parametrize("command", ["mine", "rerank", "evaluate"])
def test_a_stage_has_the_flags_that_it_is_run_with(run, command) -> None:
    arguments = {"data": "shards", "k_prime": 45, "k": [1, 5], "random": None, "verify": True, "out": "o"}
    assert command in stages.STAGES
    assert command_of(stage_of(run, command, arguments), "runs/toy") == [
        "mmembed", command, *stage_flags(command, arguments)
    ]  # fmt: skip


def test_the_report_prints_them(run, tmp_path) -> None:
    stage_of(run, "fit-reranker", GIVEN)
    report(run, tmp_path)
    (line,) = (row for row in (tmp_path / "report.md").read_text().splitlines() if "fit-reranker" in row)
    assert shlex.split(line)[:4] == ["mmembed", "fit-reranker", "--seed_everything=1", f"--folder=runs/toy/{PLACE}"]
