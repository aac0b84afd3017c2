"""Runs that lack something: what is there is reported, what is not is said; what is broken is named."""

import json
import shutil

import pytest

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.report import report
from lit_mmembed.retrieval.ranking import from_pairs, write_ranking
from tests.evaluation.report_world import TASKS, write_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "toy", models=("M_rand", "M_hard"), seeds=(0,))


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "toy")


def reported(run):
    out = run.parent / "out"
    page = report(run, out).read_text()
    return page, (out / "report.md").read_text()


def left_out(text):
    return [line for line in text.splitlines() if line.startswith("Left out: ")]


def test_a_whole_run_leaves_nothing_out(run) -> None:
    page, text = reported(run)
    assert left_out(text) == []
    for section in ("scores", "differences", "training", "mining", "gallery", "provenance"):
        assert f'<section id="{section}">' in page


def test_without_logs_and_statistics_there_are_scores(run) -> None:
    reported(run)
    for stage in ("M_rand", "M_hard"):
        shutil.rmtree(run / f"seed0/with_instructions/{stage}")
    page, text = reported(run)
    assert left_out(text) == ["Left out: no training log; no mining statistics."]
    assert "Left out: no training log; no mining statistics." in page
    assert 'id="training"' not in page
    assert 'id="mining"' not in page
    assert 'id="gallery"' in page
    assert not (run.parent / "out/curves.png").exists()


def test_without_local_pools_that_table_is_left_out(tmp_path) -> None:
    page, text = reported(write_run(tmp_path / "toy", models=("M_hard",), seeds=(0,), pools=("global",)))
    assert "local pools</h2>" not in page
    assert "no local pools were searched" in left_out(text)[0]


def test_one_model_alone_has_no_differences_but_a_gallery(tmp_path) -> None:
    page, text = reported(write_run(tmp_path / "toy", models=("M_hard",), seeds=(0,)))
    assert 'id="differences"' not in page
    assert "one system only: nothing to compare" in left_out(text)[0]
    assert "found by M_hard" in page
    assert "not found by M_hard" in page


@pytest.mark.parametrize("gone", ["shared", "seed0/with_instructions/evaluate_M_rand/run.parquet"])
def test_without_data_or_ranking_the_gallery_lacks_them(run, gone) -> None:
    path = run / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page, text = reported(run)
    assert f"T1 {TASKS[0].dataset}" in page
    if gone == "shared":
        assert "no gallery" in left_out(text)[0]
    else:
        assert "<h4>M_hard</h4>" in page
        assert "<h4>M_rand</h4>" not in page


def test_a_stage_that_was_begun_and_not_finished_is_named(run) -> None:
    (run / "seed0/with_instructions/evaluate_M_hard/stage.json").rename(
        run / "seed0/with_instructions/evaluate_M_hard/started.json"
    )
    page, text = reported(run)
    assert "not finished: seed0/with_instructions/evaluate_M_hard" in left_out(text)[0]
    assert "not finished: seed0/with_instructions/evaluate_M_hard" in page


def test_the_reports_own_folder_does_not_count_as_unfinished(run) -> None:
    out = run / "shared/report"
    out.mkdir()
    (out / "started.json").write_text("{}")
    report(run, out)
    assert left_out((out / "report.md").read_text()) == []
    assert (out / "started.json").exists()


def test_a_folder_that_does_not_exist_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"nowhere: is not a folder \(fix: name a run folder"):
        report(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_without_evaluation_is_refused(run) -> None:
    for stage in run.glob("seed0/*/evaluate_*"):
        shutil.rmtree(stage)
    with pytest.raises(InputError, match=r"toy: holds no finished evaluate stage .*fix: run the recipe first"):
        reported(run)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", r"stage\.json: is not JSON"),
        ("[]", r"stage\.json: is not a stage"),
        (
            '{"name": "x", "command": "fit", "labels": {}}',
            r"stage\.json: is not a stage: arguments missing \(fix: remove",
        ),
    ],
)
def test_a_broken_stage_file_is_named(run, content, problem) -> None:
    (run / "seed0/with_instructions/M_rand/stage.json").write_text(content)
    with pytest.raises(InputError, match=problem):
        reported(run)


@pytest.mark.parametrize("line", ["{", '{"epoch": 0}', "[1]", '{"step": null}'])
def test_a_broken_log_is_named_with_its_line(run, line) -> None:
    log = run / "seed0/with_instructions/M_rand/log.jsonl"
    log.write_text(log.read_text() + line + "\n")
    with pytest.raises(InputError, match=r"log\.jsonl: line 5: is not a line of a log"):
        reported(run)


def test_broken_scores_are_named(run) -> None:
    (run / "seed0/with_instructions/evaluate_M_rand/scores.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"scores\.jsonl: line 1: is not a score"):
        reported(run)


def test_broken_statistics_are_named(run) -> None:
    (run / "seed0/with_instructions/M_rand/statistics.json").write_text(json.dumps({"task": {}}))
    with pytest.raises(InputError, match=r"statistics\.json: holds no mining statistics"):
        reported(run)


def test_an_evaluation_that_is_labelled_so_stays_out_of_the_tables(run) -> None:
    for mark in run.rglob("stage.json"):
        content = json.loads(mark.read_text())
        if content["command"] == "evaluate" and content["labels"]["model"] == "M_hard":
            content["labels"]["in_report"] = False
            mark.write_text(json.dumps(content))
    _, text = reported(run)
    assert "as M_rand on" in text and "M_hard minus" not in text


@pytest.mark.parametrize("other", [{"split": "val"}, {"data": "runs/toy/shared/other/shards"}])
def test_the_gallery_is_of_one_split_of_one_data_directory(run, other) -> None:
    alone = reported(run)[0]
    again = shutil.copytree(run / "seed0/with_instructions/evaluate_M_hard", run / "seed0/with_instructions/later")
    content = json.loads((again / "stage.json").read_text())
    content |= {"name": "later", "arguments": {**content["arguments"], **other}}
    (again / "stage.json").write_text(json.dumps(content))
    write_ranking(again / "run.parquet", from_pairs(["21:4301"], ["30:100"], [1.0]), record={})
    page, text = reported(run)
    assert "M_hard (later)" in text
    assert page.count("<article") == alone.count("<article") > 0
    assert "not by M_hard (later)" not in page
