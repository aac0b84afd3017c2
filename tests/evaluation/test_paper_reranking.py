"""`mmembed report --paper`, Tables 3, 4 and 7: retrieval and every reranker that was run; and the ordinary report's."""

import csv
import statistics

import pytest

from lit_mmembed.evaluation.report import report
from lit_mmembed.types import Score
from tests.evaluation.paper_world import (
    EMOJI,
    EMOJI_MEANS,
    MBEIR,
    MBEIR_MEANS,
    headline,
    measured,
    paper,
    shifted,
    write_evaluation,
)
from tests.evaluation.report_world import tables_of

HARD = {"model": "M_hard", "encoder": "NV-Embed"}
RERANKERS = {"none": 0.0, "zero-shot": -2.0, "trained": 3.0, "trained, fused": 4.0, "oracle": 9.0}


def study(run, rerankers=RERANKERS, *, seeds=(0, 1, 2), splits=("val", "test"), values=MBEIR, **labels):
    """Of each seed, split and reranker an evaluation; seeds differ by two points, and the oracle's gain by seed."""
    means = EMOJI_MEANS if values is EMOJI else MBEIR_MEANS
    for seed in seeds:
        for split in splits:
            for name, shift in rerankers.items():
                gain = shift + (seed if name == "oracle" else 0) + 2 * seed + (20 if split == "val" else 0)
                scores = headline(shifted({**values, **means}, gain))
                scores += measured("hit", 1, {"avg_all": 10 + gain}) + measured("mrr", 10, {"avg_all": 20 + gain})
                stage = f"evaluate_{name}_{split}".replace(", ", "_")
                write_evaluation(run, stage, scores, seed=seed, split=split, reranker=name, **{**HARD, **labels})
    return run


def test_table_3_has_a_column_for_each_reranker_of_test_queries(tmp_path, capsys):
    written = paper(capsys, tmp_path / "out", study(tmp_path / "run"), numbers=[3])
    column = "M_hard NV-Embed"
    assert written.numbers(3, "cirr_task7", f"{column} retrieval") == (52.0, 2.0, 50.8, 1.2)
    assert written.numbers(3, "cirr_task7", f"{column} zero-shot") == (50.0, 2.0, 48.6, 1.4)
    assert written.numbers(3, "cirr_task7", f"{column} trained, fused") == (56.0, 2.0, None, None)
    assert written.numbers(3, "cirr_task7", f"{column} oracle") == (62.0, 3.0, None, None)
    assert written.numbers(3, "cirr_task7", "MM-Embed reranked") == (None, None, 48.2, None)
    assert written.cell(3, "nights_task4", f"{column} retrieval") is None


def test_table_3_takes_the_retrieval_of_an_ordinary_evaluation_where_the_study_has_none(tmp_path, capsys):
    run = study(tmp_path / "run", {"7B": 1.0}, splits=["test"], seeds=[0])
    write_evaluation(run, "evaluate", headline(MBEIR), **HARD)
    written = paper(capsys, tmp_path / "out", run, numbers=[3])
    assert written.numbers(3, "oven_task6", "M_hard NV-Embed retrieval") == (40.0, None, 42.6, -2.6)
    assert written.numbers(3, "oven_task6", "M_hard NV-Embed 7B") == (41.0, None, 44.3, -3.3)


def test_a_retriever_alone_is_not_table_3(tmp_path, capsys):
    write_evaluation(tmp_path / "run", "evaluate", headline(MBEIR), **HARD)
    written = paper(capsys, tmp_path / "out", tmp_path / "run", numbers=[3])
    assert "Table 3: nothing of it was run: mmembed run experiments/paper/table3.yaml" in written.stdout
    assert "mmembed run experiments/paper/table3.yaml" in written.page and written.json["cells"] == []


def test_table_7_is_of_development_queries_of_m_rand_clip_sf(tmp_path, capsys):
    labels = {"model": "M_rand", "encoder": "CLIP_SF"}
    run = study(tmp_path / "run", {"none": 0.0, "7B": -1.0, "34B": 1.0, "oracle": 5.0}, seeds=[0], **labels)
    written = paper(capsys, tmp_path / "out", run, numbers=[7])
    assert written.numbers(7, "webqa_task1", "retrieval") == (110.0, None, 78.2, 31.8)
    assert written.numbers(7, "webqa_task1", "7B") == (109.0, None, 79.2, 29.8)
    assert written.numbers(7, "webqa_task1", "34B") == (111.0, None, 82.9, 28.1)
    assert written.numbers(7, "webqa_task1", "oracle") == (115.0, None, None, None)


def circo_scores(percent, n=220):
    task = ("circo_task7", "CIRCO")
    scores = [Score("circo_map", 5, percent / 100, n, *task, "keep_reference")]
    return [*scores, Score("circo_map", 5, percent / 50, n, *task, "drop_reference")]


@pytest.mark.parametrize(("queries", "difference"), [(220, (2.6, 3.1)), (7, (None, None))])
def test_table_4_is_circo_with_the_reference_kept(tmp_path, capsys, queries, difference):
    for name, percent in (("none", 35.0), ("7B", 44.0)):
        labels = {**HARD, "set": "circo", "split": "val", "reranker": name}
        write_evaluation(tmp_path / "run", f"circo_{name}", circo_scores(percent, queries), **labels)
    written = paper(capsys, tmp_path / "out", tmp_path / "run", numbers=[4])
    assert written.numbers(4, "M_hard NV-Embed", "retrieval") == (35.0, None, 32.4, difference[0])
    assert written.numbers(4, "M_hard NV-Embed", "7B") == (44.0, None, 40.9, difference[1])
    assert written.numbers(4, "MagicLens", "retrieval") == (None, None, 24.9, None)
    assert ("not CIRCO's validation queries" in written.stdout) == (queries == 7)


def test_a_retrieval_without_a_reranker_fills_table_4(tmp_path, capsys):
    labels = {"model": "MM-Embed", "encoder": "NV-Embed", "set": "circo", "split": "val"}
    write_evaluation(tmp_path / "run", "circo", circo_scores(30.0), **labels)
    written = paper(capsys, tmp_path / "out", tmp_path / "run", numbers=[4])
    assert written.numbers(4, "MM-Embed", "retrieval") == (30.0, None, 32.3, -2.3)


def reported(run):
    report(run, run.parent / "out")
    return tables_of((run.parent / "out/report.md").read_text())


def spread(values, sign=""):
    return f"{statistics.mean(values):{sign}.1f} ± {statistics.stdev(values):.1f}".replace("-", "−")


def test_the_report_compares_each_reranker_with_retrieval_seed_by_seed(tmp_path):
    tables = reported(study(tmp_path / "run", values=EMOJI))
    row = tables["Reranking: NV-Embed M_hard, test split"]["T1 Emoji (text → image)"]
    assert list(row)[:3] == ["retrieval", "zero-shot: hit@5", "zero-shot: change"]
    assert row["retrieval"] == spread([4, 6, 8]) and row["trained: hit@5"] == spread([7, 9, 11])
    assert row["oracle: change"] == spread([9, 10, 11], "+")
    assert row["zero-shot: change"] == "−2.0 ± 0.0"
    val = tables["Reranking: NV-Embed M_hard, val split"]
    assert val["T1 Emoji (text → image)"]["retrieval"] == spread([24, 26, 28])
    assert val["hit@1 (mean of all tasks)"]["retrieval"] == spread([30, 32, 34])
    assert val["MRR@10 (mean of all tasks)"]["trained: change"] == "+3.0 ± 0.0"


def test_reranked_evaluations_stay_out_of_the_ordinary_tables(tmp_path):
    run = study(tmp_path / "run", values=EMOJI, seeds=[0])
    write_evaluation(run, "evaluate", headline(EMOJI), **HARD)
    row = reported(run)["hit@5, global pool"]["T1 Emoji (text → image)"]
    assert row["with instructions: M_hard"].startswith("4.0")
    assert not any("evaluate_" in column for column in row)


def test_a_study_alone_shows_its_retrieval_of_test_queries_in_the_ordinary_tables(tmp_path):
    row = reported(study(tmp_path / "run", values=EMOJI))["hit@5, global pool"]["T1 Emoji (text → image)"]
    assert row["with instructions: M_hard"] == spread([4, 6, 8])


def test_csv_and_provenance_name_the_rerankers(tmp_path):
    reported(study(tmp_path / "run", values=EMOJI))
    rows = list(csv.DictReader((tmp_path / "out/scores.csv").open()))
    assert {row["reranker"] for row in rows} == set(RERANKERS)
    assert "reranker trained, fused" in (tmp_path / "out/report.md").read_text()
