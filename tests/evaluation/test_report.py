"""The report's numbers, by the entry function: every one is counted again from the rankings by a naive loop."""

import csv
import json
import shutil
import statistics

import pytest

from lit_mmembed.evaluation.report import report
from lit_mmembed.evaluation.scores import read_scores, write_scores
from lit_mmembed.types import Score
from tests.evaluation.report_world import (
    DOCUMENTS,
    QUERIES,
    TASKS,
    positive_of,
    ranking_of,
    tables_of,
    write_run,
    write_stage,
)

ROWS = {"toy_task0": "T1 Toy (text → image)", "toy_task3": "T4 Toy (image → text)"}
ROWS |= {"toy_task7": "T7 Toy (image+text → image)"}
MODELS = ("M_rand", "control", "M_hard")
HIT, LOCAL, ACCURACY = "hit@5, global pool", "hit@5, local pools", "Modality accuracy@1, global pool"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "toy")


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    assert report(study, out) == out / "index.html"
    return out


@pytest.fixture(scope="module")
def tables(written):
    return tables_of((written / "report.md").read_text())


def hit(model, seed, task, pool="global"):
    asked = [qid for qid in QUERIES if QUERIES[qid].name == task]
    ranking = ranking_of(model, seed, pool=pool)
    return sum(positive_of(qid) in ranking[qid][:5] for qid in asked) / len(asked)


def accuracy(model, seed, task):
    asked = [qid for qid in QUERIES if QUERIES[qid].name == task]
    ranking = ranking_of(model, seed)
    return sum(DOCUMENTS[ranking[qid][0]] == QUERIES[qid].candidate_modality for qid in asked) / len(asked)


def spread(values):
    return f"{100 * statistics.mean(values):.1f} ± {100 * statistics.stdev(values):.1f}"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("task", ROWS)
def test_a_cell_is_mean_and_deviation_over_seeds_of_what_is_counted_by_hand(tables, model, task) -> None:
    column = f"with instructions: {model}"
    assert tables[HIT][ROWS[task]][column] == spread([hit(model, seed, task) for seed in range(3)])
    assert tables[LOCAL][ROWS[task]][column] == spread([hit(model, seed, task, "local") for seed in range(3)])
    assert tables[ACCURACY][ROWS[task]][column] == spread([accuracy(model, seed, task) for seed in range(3)])


def test_averages_are_plain_means_over_tasks_of_their_kind(tables) -> None:
    single, multi = ["toy_task0", "toy_task3"], ["toy_task7"]
    for label, tasks in {"all tasks (mean)": single + multi, "single-modal (mean of T1 to T5)": single}.items():
        means = [statistics.mean(hit("M_hard", seed, task) for task in tasks) for seed in range(3)]
        assert tables[HIT][label]["with instructions: M_hard"] == spread(means)
    assert (
        tables[HIT]["multi-modal (mean of T6 to T8)"]["with instructions: M_hard"]
        == tables[HIT][ROWS["toy_task7"]]["with instructions: M_hard"]
    )


def signed(values):
    text = f"{100 * statistics.mean(values):+.1f} ± {100 * statistics.stdev(values):.1f}"
    return text.replace("-", "−").replace("+0.0 ", "0.0 ")


@pytest.mark.parametrize("task", ROWS)
def test_a_difference_is_taken_seed_by_seed(tables, task) -> None:
    row = tables["Differences in hit@5, global pool"][ROWS[task]]
    for other in ("control", "M_rand"):
        gaps = [hit("M_hard", seed, task) - hit(other, seed, task) for seed in range(3)]
        assert row[f"with instructions: M_hard − {other}"] == signed(gaps)


def test_three_paired_seeds_carry_a_finding_and_two_are_said_not_to(study, written, tmp_path) -> None:
    assert "not enough seeds" not in (written / "report.md").read_text()
    fewer = shutil.copytree(study, tmp_path / "toy")
    shutil.rmtree(fewer / "seed1/with_instructions/evaluate_control")
    report(fewer, tmp_path / "out")
    text = (tmp_path / "out/report.md").read_text()
    gaps = [hit("M_hard", seed, "toy_task0") - hit("control", seed, "toy_task0") for seed in (0, 2)]
    row = tables_of(text)["Differences in hit@5, global pool"][ROWS["toy_task0"]]
    assert row["with instructions: M_hard − control"] == signed(gaps)
    assert "mean ± standard deviation over 2 to 3 paired seeds" in text
    assert "Fewer than 3 paired seeds: not enough seeds for a claim." in text
    [finding] = [line for line in text.splitlines() if line.startswith("M_hard minus control")]
    assert finding.endswith("of 2 seeds); not enough seeds for a claim.")
    [finding] = [line for line in text.splitlines() if line.startswith("M_hard minus M_rand")]
    assert finding.endswith("of 3 seeds).")


def test_a_finding_says_in_how_many_seeds_it_is_higher(written) -> None:
    averages = [[statistics.mean(hit(m, s, t) for t in ROWS) for s in range(3)] for m in ("M_hard", "M_rand")]
    higher = sum(a > b for a, b in zip(*averages, strict=True))
    [finding] = [f for f in (written / "report.md").read_text().splitlines() if f.startswith("M_hard minus M_rand")]
    assert f"points (higher in {higher} of 3 seeds), M.A.@1" in finding


def test_one_seed_shows_the_bootstrap_interval_and_makes_no_claim(tmp_path) -> None:
    run = write_run(tmp_path / "toy", seeds=(4,))
    report(run, tmp_path / "out")
    text = (tmp_path / "out/report.md").read_text()
    scores = read_scores(run / "seed4/with_instructions/evaluate_M_hard/scores.jsonl")
    [score] = [s for s in scores if (s.metric, s.task, s.pool) == ("headline", "toy_task3", "global")]
    cell = tables_of(text)[HIT][ROWS["toy_task3"]]["with instructions: M_hard"]
    assert cell == f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"
    assert "not enough seeds for a claim" in text
    assert "; 1 seed, with instructions." in text


def test_instructions_are_compared_within_a_model(tmp_path) -> None:
    run = write_run(tmp_path / "toy", models=("M_rand",), seeds=(0, 1), instructions=("with", "without"))
    report(run, tmp_path / "out")
    tables = tables_of((tmp_path / "out/report.md").read_text())
    assert list(tables[HIT][ROWS["toy_task0"]])[:2] == ["with instructions: M_rand", "without instructions: M_rand"]
    row = tables["Differences in hit@5, global pool"][ROWS["toy_task0"]]
    asked = [qid for qid in QUERIES if QUERIES[qid].name == "toy_task0"]
    share = {
        (words, seed): sum(positive_of(q) in ranking_of("M_rand", seed, words)[q][:5] for q in asked) / len(asked)
        for words in ("with", "without")
        for seed in (0, 1)
    }
    gaps = [share["with", seed] - share["without", seed] for seed in (0, 1)]
    assert row["with − without instructions: M_rand"] == signed(gaps)


def test_the_papers_figures_beside_another_benchmark_are_means_over_its_rows_of_the_task(tables, written) -> None:
    row = tables[HIT][ROWS["toy_task0"]]
    assert row["paper, M-BEIR, CLIP_SF: M_rand"] == f"{(43.8 + 72.0 + 16.4) / 3:.1f}"
    assert row["paper, M-BEIR, CLIP_SF: M_hard"] == f"{(42.7 + 69.2 + 19.7) / 3:.1f}"
    assert tables[HIT]["all tasks (mean)"]["paper, M-BEIR, CLIP_SF: M_hard"] == "48.3"
    assert tables[ACCURACY][ROWS["toy_task3"]]["paper, M-BEIR, CLIP_SF: M_hard"] == "94.2"
    assert tables[ACCURACY][ROWS["toy_task7"]]["paper, M-BEIR, CLIP_SF: M_hard"] == "–"
    gap = (24.2 + 43.2) / 2 - (21.7 + 38.3) / 2
    differences = tables["Differences in hit@5, global pool"][ROWS["toy_task7"]]
    assert differences["paper, M-BEIR, CLIP_SF: M_hard − M_rand"] == f"−{gap:.1f}"
    assert "compared in direction only" in (written / "report.md").read_text()


def test_the_papers_own_rows_stand_beside_m_beirs(tmp_path) -> None:
    folder = write_stage(
        tmp_path / "big/seed0/main/evaluate", "evaluate", run_dir=tmp_path / "big", labels={"model": "M_hard"}
    )
    names = {"mscoco_task0": ("MSCOCO", 5, 0.7), "fashioniq_task7": ("FashionIQ", 10, 0.2)}
    scores = [Score("headline", k, value, 9, name, dataset, "global") for name, (dataset, k, value) in names.items()]
    scores += [Score("headline", 0, 0.45, 18, "avg_all", "all", "global")]
    write_scores(folder / "scores.jsonl", scores)
    report(tmp_path / "big", tmp_path / "out")
    text = (tmp_path / "out/report.md").read_text()
    table = tables_of(text)["hit@5 (hit@10 for FashionIQ), global pool"]
    assert table["T1 MSCOCO (text → image)"] == {"M_hard": "70.0", "paper, M-BEIR, CLIP_SF: M_hard": "69.2"}
    assert table["T7 FashionIQ (image+text → image)"]["paper, M-BEIR, CLIP_SF: M_hard"] == "21.7"
    assert "direction only" not in text
    assert "of the same rows" in text


def test_mining_statistics_are_averaged_over_seeds(tables) -> None:
    row = tables["Negatives: M_rand, with instructions"][ROWS["toy_task0"]]
    assert row["queries with a negative: wrong modality"] == "30.0 ± 10.0"
    assert row["negatives per query"] == "7.5"
    assert row["best positive: median rank"] == "–"
    assert row["possible false negatives"] == "1.0 ± 0.0"


def test_the_csv_has_one_row_per_number_with_its_labels(study, written) -> None:
    with (written / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    files = sorted(study.glob("seed*/*/evaluate_*/scores.jsonl"))
    assert len(rows) == sum(len(read_scores(file)) for file in files) > 100
    keys = ("model", "encoder", "instructions", "seed", "split", "stage", "task", "pool", "metric", "k")
    found = {tuple(row[key] for key in keys): float(row["value"]) for row in rows}
    assert len(found) == len(rows)
    key = ("control", "CLIP_SF", "with", "2", "test", "evaluate_control", "toy_task0", "global", "hit", "5")
    assert found[key] == pytest.approx(hit("control", 2, "toy_task0"))


def test_the_same_folder_gives_the_same_bytes(study, written, tmp_path) -> None:
    moved = shutil.copytree(study, tmp_path / "elsewhere/toy")
    report(moved, tmp_path / "again")
    report(moved, tmp_path / "again")
    names = sorted(path.name for path in written.iterdir())
    assert names == ["curves.png", "index.html", "report.md", "scores.csv"]
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == names
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes(), name


def test_what_produced_it_is_said(written) -> None:
    text = (written / "report.md").read_text()
    for fact in ("commit: c0ffee", "data hash: d47a", "prompt policy: first", "seeds: 0, 1, 2", "torch 2.0"):
        assert fact in text
    assert "mmembed evaluate --data runs/toy/shared/data/shards --split test --prompts first" in text
    fit = "mmembed fit -c a.yaml --seed_everything=1 --folder=runs/toy/seed1/with_instructions/M_hard"
    assert f"{fit} --trainer.max_steps=30" in text
    commands = text[text.index("```sh") :].splitlines()
    assert commands[1].startswith("mmembed shard")


def test_two_evaluations_of_one_model_are_told_apart_by_their_stages(tmp_path) -> None:
    run = write_run(tmp_path / "toy", models=("M_hard",), seeds=(0,))
    first = run / "seed0/with_instructions/evaluate_M_hard"
    second = shutil.copytree(first, first.with_name("evaluate_again"))
    stage = json.loads((second / "stage.json").read_text())
    (second / "stage.json").write_text(json.dumps({**stage, "name": "evaluate_again"}))
    report(run, tmp_path / "out")
    row = tables_of((tmp_path / "out/report.md").read_text())[HIT][ROWS["toy_task0"]]
    assert "with instructions: M_hard (evaluate_again)" in row
    assert "with instructions: M_hard (evaluate_M_hard)" in row


def test_every_task_of_the_world_is_a_row(tables) -> None:
    assert list(tables[HIT])[: len(TASKS)] == list(ROWS.values())


def test_equal_systems_are_higher_in_no_seed(study, tmp_path) -> None:
    run = shutil.copytree(study, tmp_path / "toy")
    for seed in range(3):
        folder = run / f"seed{seed}/with_instructions"
        shutil.copy(folder / "evaluate_M_rand/scores.jsonl", folder / "evaluate_M_hard/scores.jsonl")
    report(run, tmp_path / "out")
    text = (tmp_path / "out/report.md").read_text()
    equal = "0.0 ± 0.0 points (higher in 0 of 3 seeds)"
    assert f"M_hard minus M_rand, with instructions: hit@5 {equal}, M.A.@1 {equal}." in text
