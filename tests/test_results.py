"""The public way to results: rows, means, differences, curves, rankings and negatives of a run folder; its errors."""

from __future__ import annotations

import json
import math
import shutil
import statistics
import subprocess
import sys

import pytest

from lit_mmembed import Results
from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.report import report
from lit_mmembed.mining.miner import mine
from lit_mmembed.mining.rules import Unsatisfying, WrongModality
from lit_mmembed.results import differences, means, recorded_scores, select
from lit_mmembed.types import Modality
from tests.evaluation.report_world import (
    DOCUMENTS,
    QUERIES,
    SKILL,
    TASKS,
    loss_of,
    positive_of,
    ranking_of,
    write_run,
)

SEEDS = (0, 1, 2)
TASK = TASKS[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("results") / "toy", instructions=("with", "without"))


@pytest.fixture(scope="module")
def results(folder):
    return Results(folder)


def hits_at_5(model, seed, task, instructions="with"):
    """A naive count over the rankings that the run was written from."""
    ranking = ranking_of(model, seed, instructions)
    found = [positive_of(qid) in ranking[qid][:5] for qid, asked in QUERIES.items() if asked == task]
    return sum(found) / len(found)


def test_scores_are_plain_rows_that_labels_choose(results):
    rows = results.scores(model="M_hard", instructions="with", metric="hit", k=5, pool="global", task=TASK.name)
    assert [row["seed"] for row in rows] == list(SEEDS)
    for row in rows:
        assert row["value"] == pytest.approx(hits_at_5("M_hard", row["seed"], TASK))
        assert row["encoder"] == "CLIP_SF" and row["n"] == 6
    both = results.scores(model=["M_rand", "M_hard"], seed=1, metric="hit", k=5, pool="global", task=TASK.name)
    assert {row["model"] for row in both} == {"M_rand", "M_hard"}


def test_means_are_over_seeds_with_the_standard_deviation_of_a_sample(results):
    (row,) = results.means(model="control", instructions="with", metric="hit", k=5, pool="global", task=TASK.name)
    values = [hits_at_5("control", seed, TASK) for seed in SEEDS]
    assert row["values"] == pytest.approx(dict(zip(SEEDS, values, strict=True)))
    assert row["mean"] == pytest.approx(statistics.mean(values)) and row["std"] == pytest.approx(
        statistics.stdev(values)
    )
    assert row["seeds"] == 3 and row["model"] == "control" and "seed" not in row


def test_differences_are_paired_by_seed_within_equal_labels(results):
    chosen = {"metric": "hit", "k": 5, "pool": "global", "task": TASK.name}
    rows = results.differences({"model": "M_hard"}, {"model": "M_rand"}, **chosen)
    assert {row["instructions"] for row in rows} == {"with", "without"}
    for row in rows:
        asked = row["instructions"]
        gaps = [hits_at_5("M_hard", seed, TASK, asked) - hits_at_5("M_rand", seed, TASK, asked) for seed in SEEDS]
        assert list(row["values"].values()) == pytest.approx(gaps)
        assert row["mean"] == pytest.approx(statistics.mean(gaps)) and row["higher"] == sum(gap > 1e-12 for gap in gaps)


def test_a_difference_of_instructions_pairs_their_two_variants(results):
    rows = results.differences({"instructions": "with"}, {"instructions": "without"}, metric="hit", k=5, task="avg_all")
    assert {(row["model"], row["pool"]) for row in rows} == {(m, p) for m in SKILL for p in ("global", "local")}


def test_a_seed_that_only_one_of_two_systems_has_is_not_compared(tmp_path):
    found = Results(write_run(tmp_path / "toy", models=("M_rand", "M_hard")))
    rows = [r for r in found.scores(metric="hit", k=5, pool="global") if (r["model"], r["seed"]) != ("M_rand", 1)]
    assert {row["seeds"] for row in differences(rows, {"model": "M_hard"}, {"model": "M_rand"})} == {2}


def with_more(folder, copy, name, **labels):
    """A copy of a run folder in which M_hard's evaluations are there twice, once with other labels."""
    shutil.copytree(folder, copy)
    for seed in SEEDS:
        stage = copy / f"seed{seed}/with_instructions/evaluate_M_hard"
        other = shutil.copytree(stage, stage.with_name(name))
        content = json.loads((other / "stage.json").read_text())
        content["name"], content["labels"] = name, {**content["labels"], **labels}
        (other / "stage.json").write_text(json.dumps(content))
    return copy


def test_evaluations_on_text_sets_are_rows_of_their_own(folder, tmp_path):
    found = Results(with_more(folder, tmp_path / "run", "texts", set="texts"))
    assert found.systems == Results(folder).systems
    rows = found.means(model="M_hard", instructions="with", metric="hit", k=5, pool="global", task=TASK.name)
    assert [(row["set"], row["seeds"]) for row in rows] == [("main", 3), ("texts", 3)]
    assert found.answers(model="M_hard", instructions="with").file.parent.name == "evaluate_M_hard"
    assert found.answers(model="M_hard", set="texts").file.parent.name == "texts"


def test_reranked_rankings_are_rows_of_their_own(folder, tmp_path):
    found = Results(with_more(folder, tmp_path / "run", "reranked", reranker="trained"))
    asked = {"model": "M_hard", "instructions": "with"}
    rows = found.means(**asked, metric="hit", k=5, pool="global", task=TASK.name)
    assert [(row["set"], row["reranker"], row["seeds"]) for row in rows] == [
        ("main", "", 3),
        ("reranked", "trained", 3),
    ]
    assert found.answers(**asked).file.parent.name == "evaluate_M_hard"
    assert found.answers(**asked, set="reranked").file.parent.name == "reranked"


def test_the_table_of_a_report_reads_back_as_the_same_rows(folder, results, tmp_path):
    report(folder, tmp_path)
    recorded = recorded_scores(tmp_path / "scores.csv")
    columns = recorded[0].keys()
    assert recorded == [{name: row[name] for name in columns} for row in results.scores()]
    assert means(select(recorded, metric="hit", k=5))[0]["seeds"] == 3


def test_learning_curves_are_rows_by_step(results):
    rows = results.curves("train/loss", model="M_rand", instructions="with")
    assert [(row["seed"], row["step"], row["value"]) for row in rows] == [
        (seed, step, loss_of(seed, step)) for seed in SEEDS for step in (10, 20, 30)
    ]
    assert {row["name"] for row in results.curves(model="M_rand")} == {"train/loss", "val/hit@5/mean"}


def test_mining_statistics_are_rows_by_task(results):
    rows = [row for row in results.mining(seed=2, instructions="with") if row["task"] == TASK.name]
    assert [(row["model"], row["with_wrong_modality"]) for row in rows] == [("M_rand", pytest.approx(0.4))]


def test_a_ranking_comes_with_its_queries_documents_and_positives(results):
    answers = results.answers(model="M_hard", instructions="with", seed=1)
    expected = ranking_of("M_hard", 1)
    assert sorted(answers.queries(TASK.name)) == sorted(qid for qid, task in QUERIES.items() if task == TASK)
    for qid, dids in expected.items():
        query, hits = answers.query(qid), answers.top(qid, 4)
        assert [hit.document.id for hit in hits] == dids[:4] and [hit.rank for hit in hits] == [1, 2, 3, 4]
        assert [hit.is_positive for hit in hits] == [did == positive_of(qid) for did in dids[:4]]
        wanted = query.task.candidate_modality
        assert [hit.wrong_modality for hit in hits] == [DOCUMENTS[did] != wanted for did in dids[:4]]
        assert query.instruction == f"Find {query.task.name}." and query.positives == (positive_of(qid),)
        for hit in hits:
            image = hit.document.image
            assert (image is None) == (DOCUMENTS[hit.document.id] is Modality.TEXT)
            assert image is None or image.size == (12, 12)


def test_a_positive_that_was_not_retrieved_has_no_rank(results):
    answers = results.answers(model="M_rand", instructions="with")
    expected = ranking_of("M_rand", 0)
    for qid, rank in answers.ranks().items():
        dids = expected[qid]
        assert rank == (dids.index(positive_of(qid)) + 1 if positive_of(qid) in dids else None)
        (hit,) = answers.positives(qid)
        assert hit.document.id == positive_of(qid) and hit.rank == rank
    assert None in answers.ranks().values() and set(answers.ranks().values()) > {None}


def test_modalities_of_the_first_documents_are_shares(results):
    answers = results.answers(model="control", instructions="with", seed=2)
    expected = ranking_of("control", 2)
    first = [DOCUMENTS[expected[qid][0]] for qid, task in QUERIES.items() if task == TASK]
    shares = answers.modalities(TASK.name)
    assert shares == {m: pytest.approx(first.count(m) / len(first)) for m in Modality}


def test_rules_are_applied_to_a_ranking_as_mining_does(results):
    answers = results.answers(model="M_rand", instructions="with")
    rules = [WrongModality(8), Unsatisfying(6, 10)]
    expected, with_wrong = ranking_of("M_rand", 0), 0
    for qid, dids in expected.items():
        place = dids[:8].index(positive_of(qid)) if positive_of(qid) in dids[:8] else 8
        wanted = QUERIES[qid].candidate_modality
        wrong = {n + 1: "wrong_modality" for n in range(place) if DOCUMENTS[dids[n]] != wanted}
        low = [n for n in range(6, 10) if DOCUMENTS[dids[n]] == wanted and dids[n] != positive_of(qid)]
        assert answers.negatives(qid, rules) == wrong | {n + 1: "unsatisfying" for n in low}
        with_wrong += bool(wrong) and QUERIES[qid] == TASK
    assert answers.shares(rules, TASK.name)["wrong_modality"] == pytest.approx(with_wrong / 6)


def test_negatives_of_a_query_come_with_their_documents(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    stage, data = tmp_path / "run/seed1/with_instructions/M_rand", tmp_path / "run/shared/data/shards"
    run, out = stage.with_name("evaluate_M_rand") / "run.parquet", stage / "negatives.parquet"
    mine(run, data / "queries/test", data / "candidates/test", out, depth=10, k_prime=6)
    content = json.loads((stage / "stage.json").read_text())
    content["arguments"]["data.path"] = "elsewhere/shared/data/shards"
    (stage / "stage.json").write_text(json.dumps(content))
    negatives = Results(tmp_path / "run").negatives(model="M_rand", split="test")
    expected = Results(folder).answers(model="M_rand", instructions="with", seed=1)
    rules = [WrongModality(10), Unsatisfying(6, 10)]
    for qid in expected.queries():
        found = {one.rank: one.kind for one in negatives.of(qid)}
        assert found == expected.negatives(qid, rules)
        ranks = {hit.rank: hit.document.id for hit in expected.top(qid)}
        assert all(one.document.id == ranks[one.rank] for one in negatives.of(qid))
        assert negatives.query(qid).positives == (positive_of(qid),)
    assert set(negatives.queries("unsatisfying")) <= set(negatives.queries()) and negatives.of("no such query") == []


def test_run_folders_without_an_evaluation_are_left_out(folder, tmp_path):
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "toy").symlink_to(folder)
    assert [found.name for found in Results.below(tmp_path)] == [folder.name]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda r: r.scores(model="M_best"), "no row has model 'M_best' (fix: there is M_rand, control, M_hard)"),
        (lambda r: r.scores(modell="M_hard"), "no row has a modell"),
        (lambda r: r.answers(model="M_hard"), "name one: instructions with, without"),
        (lambda r: r.answers(pool="middle"), "use one of global, local"),
        (
            lambda r: r.answers(model="M_hard", instructions="with").top("30:999"),
            "30:999: has no ranking of this query",
        ),
        (lambda r: r.answers(model="M_hard", instructions="with").queries("x_task0"), "has no task 'x_task0'"),
        (lambda r: r.stores(model="M_hard", instructions="with"), "is not a store"),
        (lambda r: r.model(model="M_hard", instructions="with"), "names no model folder (fix: choose"),
        (
            lambda r: means([{**row, "model": "one"} for row in r.scores(metric="hit", k=5)]),
            "two rows differ in no label",
        ),
        (lambda r: Results(r.folder / "shared"), "holds no finished evaluate stage"),
        (lambda r: recorded_scores(r.folder / "nowhere.csv"), "does not exist"),
    ],
)
def test_a_wrong_question_is_answered_by_one_line_that_says_what_there_is(results, ask, words):
    with pytest.raises(InputError) as wrong:
        ask(results)
    assert words in str(wrong.value) and "\n" not in str(wrong.value)


def test_a_broken_line_of_recorded_scores_is_named(tmp_path):
    (tmp_path / "scores.csv").write_text("seed,k,n,value,low,high\n0,5,6,0.5,,\n0,5,six,0.5,,\n")
    with pytest.raises(InputError, match="line 3: is not a score"):
        recorded_scores(tmp_path / "scores.csv")


def test_reading_scores_loads_no_torch(folder):
    program = (
        f"from lit_mmembed import Results; import sys; Results({str(folder)!r}).means(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"
    assert math.isfinite(Results(folder).scores()[0]["value"])
