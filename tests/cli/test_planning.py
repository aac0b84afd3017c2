"""`mmembed plan` on the YAMLs of experiments/: it reads them as a fit does, and builds nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lit_mmembed.cli.planning import merged_config
from tests.tiny import ROOT, done, mmembed

ENCODER, TRAINING = "experiments/encoders/llava_e.yaml", "experiments/mbeir/train_mllm.yaml"


@pytest.fixture(autouse=True)
def in_root(from_root: None) -> None:
    """Paths in experiments/ begin at the repository's root."""


def planned(tmp_path: Path, *flags: object) -> dict:
    file = tmp_path / "plan.json"
    done("plan", *flags, "--json", file)
    return json.loads(file.read_text())


def test_a_fit_is_planned_from_its_yamls(tmp_path):
    [(name, plan)] = planned(tmp_path, "-c", ENCODER, "-c", TRAINING, "--gpus", 8).items()
    assert name == f"{ENCODER} + {TRAINING}"
    assert plan["step"]["queries"] == 1024 and plan["step"]["chunk_tokens"] == 16384
    assert plan["memory"]["total"] < plan["machine"]["usable"] and plan["warnings"] == []


def test_what_is_printed_names_parts_memory_time_and_assumptions():
    printed = done("plan", "-c", ENCODER, "-c", TRAINING).out
    for part in ("language model 7.11 G", "1 x h100", "GiB usable", "GiB in fp16", "s a step", "embedding the pool"):
        assert part in printed
    assert "40 tokens a text" in printed


def test_a_change_on_the_command_line_wins(tmp_path):
    changes = ["--set", "data.batch_size=512", "data.negatives=some.parquet", "--set", "trainer.max_steps=10"]
    [plan] = planned(tmp_path, "-c", ENCODER, "-c", TRAINING, *changes).values()
    assert plan["step"]["queries"] == 512 and plan["step"]["rows"] == pytest.approx(3 * 512)
    assert plan["time"]["steps"] == 10


def test_a_recipe_has_a_plan_for_each_fit_and_embedding(tmp_path):
    plans = planned(tmp_path, "experiments/mbeir/clip_sf.yaml", "--gpus", 8, "--out", tmp_path)["fits"]
    assert set(plans) == {f"mbeir_clip_sf/{name}" for name in ("rand", "hard", "embed_rand", "embed_hard")}
    assert plans["mbeir_clip_sf/hard"]["step"]["negatives"] == 1
    assert plans["mbeir_clip_sf/rand"]["step"]["negatives"] == 0
    assert plans["mbeir_clip_sf/rand"]["parameters"]["total"] == 427_616_513


def test_a_mixture_of_so_many_steps_is_planned_for_those_and_says_what_is_not_counted(tmp_path):
    plans = planned(tmp_path, "experiments/mbeir/mm_embed.yaml", "--gpus", 8, "--out", tmp_path)["fits"]
    continual = plans["mbeir_mm_embed/continual"]
    assert continual["time"]["steps"] == 4500 and continual["time"]["run_hours"] > 0
    assert any("data.mixture" in text for text in continual["assumptions"])
    assert not any("data.mixture" in text for text in plans["mbeir_mm_embed/hard"]["assumptions"])


def test_the_details_of_a_recipes_fits_are_printed_when_asked_for(tmp_path):
    recipe = ("plan", "experiments/mbeir/clip_sf.yaml", "--out", tmp_path)
    assert "a step," not in done(*recipe).out
    assert "mbeir_clip_sf/rand (fit)\n  machine" in done(*recipe, "--details").out


def test_a_data_directory_gives_lengths_and_counts(tmp_path, tiny):
    [plan] = planned(tmp_path, "-c", ENCODER, "-c", TRAINING, "--data", tiny.data).values()
    assert plan["pool"]["documents"] == 72


def test_the_mfu_and_the_gpu_can_be_said(tmp_path):
    fast, slow = (
        next(iter(planned(tmp_path, "-c", ENCODER, "-c", TRAINING, *flags).values()))["time"]["seconds_per_step"]
        for flags in (("--gpu", "h100", "--mfu", 0.5), ("--gpu", "a100", "--mfu", 0.25))
    )
    assert slow / fast == pytest.approx(2 * 989 / 312)


def test_what_will_not_fit_is_a_warning_with_what_to_change():
    off = "model.encoder.init_args.gradient_checkpointing=false"
    printed = done("plan", "-c", ENCODER, "-c", TRAINING, "--set", off).out
    assert "WARNING      does not fit" in printed and "model.chunk_tokens=" in printed


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "a recipe, or the YAMLs"),
        (["-c", "missing.yaml"], "missing.yaml"),
        (["-c", TRAINING], "no model.encoder"),
        (["-c", ENCODER, "--gpu", "abacus"], "abacus"),
        (["-c", ENCODER, "--set", "data.batch_size"], "no value"),
        (["-c", ENCODER, "--data", "experiments"], "is not a data directory"),
    ],
)
def test_bad_input_is_one_line(flags, told):
    ran = mmembed("plan", *flags)
    assert ran.status == 2 and told in ran.err and ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "encoder", sorted(Path(ROOT, "experiments/encoders").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_encoder_with_a_released_or_shipped_architecture_can_be_planned(encoder):
    ran = mmembed("plan", "-c", encoder, "-c", "experiments/mbeir/train.yaml")
    if ran.status:  # a checkpoint that a stage of a recipe makes
        assert (
            encoder.stem.endswith(("tiny", "tiny_transformers"))
            and "shapes of this checkpoint are not known" in ran.err
        )


def test_files_merge_as_lightning_cli_merges_them(tmp_path):
    """Later files win key by key; another class forgets the arguments of the one before."""
    files = []
    for number, content in enumerate(
        [
            {"model": {"loss": {"class_path": "a.A", "init_args": {"x": 1, "y": 2}}}, "data": {"batch_size": 8}},
            {"model": {"loss": {"class_path": "a.A", "init_args": {"y": 3}}}},
            {"model": {"loss": {"class_path": "b.B", "init_args": {"z": 4}}}},
        ]
    ):
        files.append(str(tmp_path / f"{number}.yaml"))
        Path(files[-1]).write_text(yaml.safe_dump(content))
    assert merged_config(files[:2], {})["model"]["loss"] == {"class_path": "a.A", "init_args": {"x": 1, "y": 3}}
    assert merged_config(files, {"data.batch_size": 9}) == {
        "model": {"loss": {"class_path": "b.B", "init_args": {"z": 4}}},
        "data": {"batch_size": 9},
    }


def test_planning_loads_neither_torch_nor_transformers():
    program = (
        "import sys; from lit_mmembed.__main__ import main; main(sys.argv[1:]); "
        "print(*({'torch', 'transformers', 'lightning', 'open_clip'} & sys.modules.keys()), file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, "plan", "-c", ENCODER, "-c", TRAINING]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stderr.split() == []
