"""The page of a comparison and its other files: what they say is so, and they ask for nothing from elsewhere."""

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from lit_mmembed.evaluation.comparison import compare_runs, write_comparison
from lit_mmembed.evaluation.comparison.configuration import differing_settings
from lit_mmembed.evaluation.comparison.queries import choose
from lit_mmembed.evaluation.per_query import Group
from lit_mmembed.types import stable_id
from tests.evaluation.comparison_world import DEPTH, evaluations, gain_of, hit_of, mean, qids_of, rank_of, write_study
from tests.evaluation.report_world import SCRIPT, TASKS, positive_of, ranking_of, tables_of
from tests.evaluation.test_report_page import Gallery

SEEDS = (0, 1, 2)
FILES = ("comparison.csv", "comparison.json", "comparison.md", "index.html")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("runs") / "toy")


@pytest.fixture(scope="module")
def comparison(study):
    return compare_runs([*evaluations(study, "M_rand"), *evaluations(study, "M_hard")], samples=500)


@pytest.fixture(scope="module")
def out(comparison, tmp_path_factory):
    return write_comparison(comparison, tmp_path_factory.mktemp("out")).parent


@pytest.fixture(scope="module")
def page(out):
    return (out / "index.html").read_text()


def naive_choice(task, sign):
    """The two queries whose positive moved most, by the mean over seeds of the logarithm of its rank."""
    moved = [qid for qid in qids_of(task) if sign * gain_of(qid) > 1e-9]
    return sorted(moved, key=lambda qid: (round(-sign * gain_of(qid), 9), stable_id(qid)))[:2]


def in_words(model, qid):
    ranks = (rank_of(model, seed, qid) for seed in SEEDS)
    return " / ".join(str(rank) if rank <= DEPTH else f">{DEPTH}" for rank in ranks) + f" with {model}"


def test_the_page_asks_for_nothing_from_elsewhere_and_escapes_the_data(page) -> None:
    sources = re.findall(r"""(?:src|href)=["']?([^"'\s>]+)""", page)
    assert sources and all(source.startswith(("data:", "#")) for source in sources)
    assert "http" not in re.sub(r"data:[^\"]+", "", page)
    assert SCRIPT not in page and "<script" not in page and "<b>text" not in page


def test_the_queries_won_and_lost_are_those_that_moved_most(page) -> None:
    examples = Gallery(page).examples
    expected = [(sign, qid) for task in TASKS for sign in (1, -1) for qid in naive_choice(task, sign)]
    assert len(examples) == len(expected) >= 6
    for example, (sign, qid) in zip(examples, expected, strict=True):
        words = f"{'won' if sign > 0 else 'lost'} by M_hard: the positive's rank is "
        assert example["outcome"].startswith(
            f"{words}{in_words('M_rand', qid)}, {in_words('M_hard', qid)}; shown: seed "
        )


def test_both_systems_top_three_are_shown_beside_the_positive_of_the_seed_that_moved_most(page) -> None:
    marks = {"relevant", "wrong", "other"}
    for example in Gallery(page).examples:
        assert list(example["answers"]) == ["the positive", "M_rand", "M_hard"]
        assert [item["class"] for item in example["answers"]["the positive"]] == ["relevant"]
        assert all(len(example["answers"][model]) == 3 for model in ("M_rand", "M_hard"))
        assert {item["class"] for model in ("M_rand", "M_hard") for item in example["answers"][model]} <= marks
    task, sign = next((task, sign) for task in TASKS for sign in (1, -1) if naive_choice(task, sign))
    qid = naive_choice(task, sign)[0]
    seed = max(SEEDS, key=lambda seed: (sign * rank_of("M_rand", seed, qid) / rank_of("M_hard", seed, qid), -seed))
    first = Gallery(page).examples[0]
    assert first["outcome"].endswith(f"shown: seed {seed}")
    for model in ("M_rand", "M_hard"):
        relevant = [did == positive_of(qid) for did in ranking_of(model, seed)[qid][:3]]
        assert [item["class"] == "relevant" for item in first["answers"][model]] == relevant


def test_how_many_queries_were_won_and_lost_is_said_per_task(page) -> None:
    for task in TASKS:
        won, lost = (100 * mean(sign * gain_of(qid) > 1e-9 for qid in qids_of(task)) for sign in (1, -1))
        assert f"won by M_hard: {won:.1f} %; lost to M_rand: {lost:.1f} %; level: " in page


def test_markdown_has_the_same_numbers(out) -> None:
    tables = tables_of((out / "comparison.md").read_text())
    table = tables["hit@5: M_hard against M_rand"]
    for row, task in zip(table.values(), TASKS, strict=False):
        for model in ("M_rand", "M_hard"):
            assert row[model] == f"{100 * mean(hit_of(model, seed, task) for seed in SEEDS):.1f}"
    assert "Student's t" in (out / "comparison.md").read_text()


def test_the_configuration_names_what_differs_and_nothing_else(comparison, page) -> None:
    settings = {setting.key: setting.values for setting in differing_settings(comparison.contenders)}
    assert settings == {
        "training.negatives_hash": ("–", "0abc / 1abc / 2abc"),
        "data.negatives": ("–", "${run_dir}/seed${seed}/with_instructions/M_rand/negatives.parquet"),
        "model.lr": ("0.2", "0.1"),
        "trainer.callbacks": ("[Mine(folder: ${folder}, k: 5)]", "–"),
    }
    assert "model.lr" in page and "seed_everything" not in page


def test_the_table_and_the_numbers_hold_every_row_and_what_was_compared(out, comparison) -> None:
    rows = list(csv.DictReader((out / "comparison.csv").open()))
    assert len(rows) == 2 * (len(TASKS) + 3)
    for row in rows:
        assert float(row["difference"]) == pytest.approx(float(row["other_value"]) - float(row["base_value"]))
        assert (row["base"], row["other"]) == ("M_rand", "M_hard")
    assert [row["k"] for row in rows[:4]] == ["5", "5", "5", "0"]
    numbers = json.loads((out / "comparison.json").read_text())
    assert numbers["pairs"][0]["paired_seeds"] is True
    assert len(numbers["pairs"][0]["rows"][0]["by_seed"]) == 3
    assert numbers["settings"]["model.lr"] == {"M_rand": "0.2", "M_hard": "0.1"}
    record = numbers["record"]
    assert record["data_hash"] == comparison.judgements.directory.hash
    assert [entry["seed"] for entry in record["systems"]["M_hard"]] == list(SEEDS)
    assert "versions" in record and "commit" in record


def test_every_dot_is_drawn_with_its_interval_and_one_tick_a_seed(page) -> None:
    rows = len(TASKS) + 3
    assert page.count('<circle class="dot"') == page.count('<line class="interval"') == 2 * rows
    assert page.count('<line class="seed"') == 2 * rows * len(SEEDS)


def test_the_same_runs_give_the_same_bytes_wherever_they_lie(study, comparison, out, tmp_path) -> None:
    moved = shutil.copytree(study, tmp_path / "elsewhere/toy")
    again = compare_runs([*evaluations(moved, "M_rand"), *evaluations(moved, "M_hard")], samples=500)
    write_comparison(again, tmp_path / "out")
    assert all((tmp_path / "out" / name).read_bytes() == (out / name).read_bytes() for name in FILES)


def test_several_pairs_have_a_legend_and_a_gallery_each(tmp_path) -> None:
    study = write_study(tmp_path / "toy", models=("M_rand", "control", "M_hard"), seeds=(0,))
    runs = [folder for model in ("M_rand", "control", "M_hard") for folder in evaluations(study, model, (0,))]
    page = write_comparison(compare_runs(runs, samples=50), tmp_path / "out").read_text()
    assert "<h1>control, M_hard against M_rand</h1>" in page
    assert page.count('class="s1"') >= 2
    assert {tuple(example["answers"])[1:] for example in Gallery(page).examples} == {
        ("M_rand", "control"),
        ("M_rand", "M_hard"),
    }
    assert "One seed: its spread is not in it." in page
    assert '<line class="seed"' not in page


def test_without_readable_samples_or_model_folders_the_page_says_what_it_lacks(study, tmp_path) -> None:
    broken = shutil.copytree(study, tmp_path / "toy")
    for shard in broken.glob("shared/data/shards/*/test/*.tar"):
        shard.unlink()
    for model in broken.glob("seed*/*/M_hard/model"):
        shutil.rmtree(model)
    comparison = compare_runs([*evaluations(broken, "M_rand"), *evaluations(broken, "M_hard")], samples=50)
    page = write_comparison(comparison, tmp_path / "out").read_text()
    assert (
        "the configuration of M_hard: its model folder; queries won and lost: the samples of toy cannot be read" in page
    )
    assert "<article" not in page and 'id="queries"' not in page
    assert f"{100 * mean(hit_of('M_hard', seed, TASKS[0]) for seed in SEEDS):.1f}" in page


def test_importing_the_comparison_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'jinja2', 'matplotlib', 'PIL', 'torch', 'pyarrow'}"
    code = f"import sys, lit_mmembed.evaluation.comparison; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_queries_that_moved_alike_are_taken_by_the_hash_of_their_id() -> None:
    qids = np.array([f"30:{n}" for n in range(9)], dtype=object)
    gain = np.array([2.0, 2.0, 2.0, 3.0, 0.0, -1.0, -1.0, -1.0, 9.0])
    won, lost = choose(gain, Group(TASKS[0], np.arange(8)), qids, 2)
    assert won == [3, min((0, 1, 2), key=lambda row: stable_id(qids[row]))]
    assert lost == sorted((5, 6, 7), key=lambda row: stable_id(qids[row]))[:2]
