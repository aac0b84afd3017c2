"""`mmembed compare` by the user's door: folders in, a table and a page out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lit_mmembed.cli.execution import stage_flags
from tests.evaluation.comparison_world import evaluations, hit_of, mean, named, write_study
from tests.evaluation.report_world import TASKS
from tests.tiny import TASK_NAMES, Tiny, done, json_lines, mmembed

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs") / "toy")


def printed_rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]


def test_compare_prints_a_table_and_writes_a_page(study: Path, tmp_path: Path) -> None:
    folders = [*evaluations(study, "M_rand"), *evaluations(study, "M_hard")]
    ran = done("compare", *folders, "--samples", 200, "--out", tmp_path / "out")
    rows = printed_rows(ran.out)
    assert len(rows) == 2 * (len(TASKS) + 3)
    for row, task in zip(rows, TASKS, strict=False):
        base, other = (100 * mean(hit_of(model, seed, task) for seed in SEEDS) for model in ("M_rand", "M_hard"))
        assert row[1:3] == [f"{base:.1f}", f"{other:.1f}"]
        assert row[3].startswith(f"{other - base:+.1f}".replace("-", "−").replace("+0.0", "0.0"))
    assert "hit@5: M_hard against M_rand" in ran.out and "M.A.@1: M_hard against M_rand" in ran.out
    assert "…" not in ran.out
    assert ran.out.splitlines()[-1] == str(tmp_path / "out/index.html")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("comparison.csv", "comparison.json", "comparison.md", "index.html")
    ]


def test_systems_can_be_named_and_a_metric_chosen(study: Path) -> None:
    runs = (named("first", evaluations(study, "M_rand")), named("second", evaluations(study, "M_hard")))
    ran = done("compare", *runs, "--metric", "mrr", "--k", 10, "--samples", 50, "--pool", "local")
    assert "mrr@10: second against first" in ran.out


def test_a_refusal_is_one_line_and_writes_nothing(study: Path, tmp_path: Path) -> None:
    ran = mmembed("compare", study, "--out", tmp_path / "out")
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "CLIP_SF M_rand" in ran.err and "CLIP_SF M_hard" in ran.err
    assert not (tmp_path / "out").exists()


def test_evaluations_made_by_hand_are_compared_with_their_data_given(
    tiny: Tiny, tiny_run: Path, tmp_path: Path
) -> None:
    """One model with and without instructions: RUN/with, RUN/without, beside RUN/model."""
    shutil.copytree(tiny_run / "model", tmp_path / "run/model")
    for name, prompts in (("with", "all"), ("without", "none")):
        flags = ("--model", tmp_path / "run/model", "--data", tiny.data, "--prompts", prompts)
        done("evaluate", *flags, "--out", tmp_path / "run" / name)
    folders = (tmp_path / "run/with", tmp_path / "run/without")
    ran = done("compare", *folders, "--data", tiny.data, "--samples", 50, "--out", tmp_path / "out")
    assert "hit@5: without against with" in ran.out
    rows = {row[0].split(" (")[0]: row for row in printed_rows(ran.out)}
    for folder, place in zip(folders, (1, 2), strict=True):
        scores = json_lines(folder / "scores.jsonl")
        (mean_hit,) = (
            s["value"] for s in scores if (s["metric"], s["task"], s["pool"]) == ("headline", "avg_all", "global")
        )
        (accuracy,) = (
            s["value"]
            for s in scores
            if (s["metric"], s["k"], s["task"], s["pool"]) == ("modality_accuracy", 1, "avg_all", "global")
        )
        assert f"{100 * mean_hit:.1f}" == printed_rows(ran.out)[len(TASK_NAMES)][place]
        assert f"{100 * accuracy:.1f}" == rows["all tasks"][place]
    settings = json.loads((tmp_path / "out/comparison.json").read_text())["settings"]
    assert settings == {"evaluation.prompts": {"with": "all", "without": "none"}}
    page = (tmp_path / "out/index.html").read_text()
    assert "the configuration of" not in page and "<article" in page
    assert "the data it was evaluated on is not to be found" in mmembed("compare", *folders).err


def test_a_recipe_can_compare_seeds_by_a_pattern(study: Path, tmp_path: Path) -> None:
    systems = [f"{model}={study}/seed*/with_instructions/evaluate_{model}" for model in ("M_rand", "M_hard")]
    done("compare", *stage_flags("compare", {"systems": systems, "samples": 50, "out": str(tmp_path / "out")}))
    assert "3 paired seeds (0, 1, 2)" in (tmp_path / "out/comparison.md").read_text()
