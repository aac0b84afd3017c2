"""The tables of studies: curricula with text sets (Table 6), instructions (Table 5) and ablations, counted again."""

import csv
import statistics

import pytest

from lit_mmembed.evaluation.report import report
from lit_mmembed.evaluation.scores import read_scores
from tests.evaluation.report_world import tables_of, write_data, write_evaluation, write_run

CURRICULUM = "Multimodal and text-to-text retrieval"
MODELS = ("zero-shot", "M_rand", "M_hard", "joint", "continual")
SEEDS = (0, 1, 2)


def spread(values, sign=""):
    mean, std = 100 * statistics.mean(values), 100 * statistics.stdev(values)
    return f"{mean:{sign}.1f} ± {std:.1f}".replace("-", "−")


def evaluations(run_dir, models, **labels):
    """Write one evaluation per seed and model; return the data directory."""
    data = write_data(run_dir / "shared/data/shards")
    for seed in SEEDS:
        for model in models:
            folder = run_dir / f"seed{seed}/main/evaluate_{model}"
            write_evaluation(folder, data, labels={"model": model, "seed": seed, **labels}, run_dir=run_dir)
    return data


def mean_of(run_dir, stage, metric, k, pool, task="avg_all"):
    found = []
    for seed in SEEDS:
        scores = read_scores(run_dir / f"seed{seed}/main/{stage}/scores.jsonl")
        wanted = (metric, k, pool, task)
        (score,) = (s for s in scores if (s.metric, s.k if metric != "headline" else None, s.pool, s.task) == wanted)
        found.append(score.value)
    return found


@pytest.fixture(scope="module")
def curriculum(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "toy"
    data = evaluations(run_dir, MODELS)
    for seed in SEEDS:
        for model in MODELS:
            folder = run_dir / f"seed{seed}/main/texts_{model}"
            labels = {"model": model, "seed": seed, "set": "texts"}
            write_evaluation(folder, data, labels=labels, run_dir=run_dir)
    report(run_dir, run_dir.parent / "report")
    return run_dir


@pytest.fixture(scope="module")
def tables(curriculum):
    return tables_of((curriculum.parent / "report/report.md").read_text())


def test_a_curriculum_has_a_row_per_model_in_the_order_of_training(tables):
    assert [label.split(" (")[0] for label in tables[CURRICULUM]] == list(MODELS)


def test_it_shows_what_was_measured_on_both_benchmarks(tables, curriculum):
    for model in MODELS:
        (row,) = (row for label, row in tables[CURRICULUM].items() if label.startswith(model))
        multimodal = mean_of(curriculum, f"evaluate_{model}", "headline", None, "global", "avg_single_modal")
        assert row["multimodal: tasks 1 to 5"] == spread(multimodal)
        assert row["texts: nDCG@10"] == spread(mean_of(curriculum, f"texts_{model}", "ndcg", 10, "local"))


def test_the_papers_figures_stand_beside_the_models_that_it_has(tables):
    columns = ("paper (Table 6): M-BEIR, tasks 1 to 5", "paper (Table 6): BEIR")
    shown = {
        label.split(" (")[0]: tuple(row[column] for column in columns) for label, row in tables[CURRICULUM].items()
    }
    assert shown["continual"] == ("55.6", "63.1") and shown["joint"] == ("52.2", "63.0")
    assert shown["zero-shot"] == ("–", "62.9") and shown["M_rand"] == ("–", "–")


def test_the_text_sets_do_not_enter_the_tables_of_the_benchmark(tables, curriculum):
    table = tables["hit@5, global pool"]
    assert sum("continual" in column for column in next(iter(table.values()))) == 1
    (row,) = (row for label, row in table.items() if label.startswith("all tasks"))
    (cell,) = (cell for column, cell in row.items() if "continual" in column)
    assert cell == spread(mean_of(curriculum, "evaluate_continual", "headline", None, "global"))


def test_what_the_continual_stage_changed_is_said_for_both(curriculum):
    text = (curriculum.parent / "report/report.md").read_text()
    gaps = [
        a - b
        for a, b in zip(
            mean_of(curriculum, "texts_continual", "ndcg", 10, "local"),
            mean_of(curriculum, "texts_joint", "ndcg", 10, "local"),
            strict=True,
        )
    ]
    (line,) = (line for line in text.splitlines() if line.startswith("continual minus joint"))
    assert f"nDCG@10 of texts {spread(gaps, '+')} points" in line


def test_the_csv_holds_the_text_sets_too(curriculum):
    rows = list(csv.DictReader((curriculum.parent / "report/scores.csv").open()))
    assert {row["stage"] for row in rows} >= {"texts_joint", "evaluate_joint"}


def test_a_run_of_text_sets_alone_is_reported_as_any_other(tmp_path):
    run_dir = tmp_path / "toy"
    evaluations(run_dir, ["M_rand"], set="texts")
    report(run_dir, tmp_path / "report")
    tables = tables_of((tmp_path / "report/report.md").read_text())
    assert CURRICULUM not in tables and "hit@5, global pool" in tables


def test_an_ablation_shows_each_setting_with_its_difference_to_the_baseline(tmp_path):
    run_dir = tmp_path / "toy"
    evaluations(run_dir, ["5 of 50"], ablation="k'", paper="k' = 45")
    evaluations_of_baseline = {"ablation": "k'", "baseline": True}
    data = run_dir / "shared/data/shards"
    for seed in SEEDS:
        labels = {"model": "45 of 50", "seed": seed, **evaluations_of_baseline}
        write_evaluation(run_dir / f"seed{seed}/main/evaluate_base", data, labels=labels, run_dir=run_dir)
    report(run_dir, tmp_path / "report")
    text = (tmp_path / "report/report.md").read_text()
    table = tables_of(text)["Ablations"]
    assert list(table) == ["k': 45 of 50 (baseline)", "k': 5 of 50"]
    ours, base = (mean_of(run_dir, f"evaluate_{name}", "headline", None, "global") for name in ("5 of 50", "base"))
    row = table["k': 5 of 50"]
    assert row["hit@5: mean"] == spread(ours)
    assert row["hit@5: − baseline"] == spread([a - b for a, b in zip(ours, base, strict=True)], "+")
    assert table["k': 45 of 50 (baseline)"]["hit@5: − baseline"] == "–"
    assert "The paper: k' = 45" in text


def test_instructions_are_compared_over_local_pools_beside_table_5(tmp_path):
    models = ("zero-shot", "M_rand")
    run_dir = write_run(tmp_path / "toy", models=models, seeds=SEEDS, instructions=("with", "without"))
    report(run_dir, tmp_path / "report")
    table = tables_of((tmp_path / "report/report.md").read_text())["Instructions: hit@5, local pools"]
    assert [label[:2] for label in table] == ["T1", "T4"]
    row = table["T1 Toy (text → image)"]
    found = []
    for seed in SEEDS:
        scores = read_scores(run_dir / f"seed{seed}/without_instructions/evaluate_zero-shot/scores.jsonl")
        found += [s.value for s in scores if (s.metric, s.pool, s.task) == ("headline", "local", "toy_task0")]
    assert row["CLIP_SF, zero-shot: without instructions"] == spread(found)
    assert row["paper, M-BEIR: zero-shot CLIP"] == f"{(40.9 + 55.4 + 8.9) / 3:.1f}"


def test_a_stage_json_without_labels_of_a_study_gives_no_table_of_one(tmp_path):
    run_dir = write_run(tmp_path / "toy", models=("M_rand",), seeds=(0,))
    report(run_dir, tmp_path / "report")
    text = (tmp_path / "report/report.md").read_text()
    assert not any(title in text for title in (CURRICULUM, "Ablations", "Instructions:"))
