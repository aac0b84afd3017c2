"""Comparisons of run folders: which systems meet, the numbers beside loops over rankings, and what is refused."""

import json
import shutil

import pytest

from lit_mmembed.errors import InputError
from lit_mmembed.evaluation.comparison import compare_runs
from lit_mmembed.retrieval.ranking import from_pairs, read_ranking
from tests.evaluation.comparison_world import evaluations, hit_of, mean, named, qids_of, rewrite, write_study
from tests.evaluation.report_world import DOCUMENTS, QUERIES, TASKS, ranking_of

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("runs") / "toy", models=("M_rand", "control", "M_hard"))


@pytest.fixture
def copied(study, tmp_path):
    """A study to break."""
    return shutil.copytree(study, tmp_path / "toy")


def compare(*runs, samples=200, **options):
    return compare_runs(runs, samples=samples, **options)


def rows_of(comparison, metric="hit", pair=0):
    return {row.name: row for row in comparison.differences[pair] if row.measure.metric == metric}


def titles(comparison):
    return [pair.title for pair in comparison.pairing.pairs]


def test_the_numbers_are_those_of_a_loop_over_seeds_and_queries(study) -> None:
    comparison = compare(*evaluations(study, "M_rand"), *evaluations(study, "M_hard"))
    assert titles(comparison) == ["M_hard against M_rand"]
    rows = rows_of(comparison)
    for task in TASKS:
        row = rows[task.name]
        base, other = ([hit_of(model, seed, task) for seed in SEEDS] for model in ("M_rand", "M_hard"))
        assert (row.base, row.other, row.n) == (pytest.approx(mean(base)), pytest.approx(mean(other)), 6)
        assert row.difference == pytest.approx(mean(other) - mean(base))
        assert row.by_seed == pytest.approx([b - a for a, b in zip(base, other, strict=True)])
        assert row.low <= row.difference <= row.high
    assert rows["avg_all"].other == pytest.approx(mean(rows[task.name].other for task in TASKS))
    assert rows["avg_single_modal"].base == pytest.approx(mean(rows[task.name].base for task in TASKS[:2]))
    assert rows["avg_multi_modal"].base == rows[TASKS[2].name].base


def test_modality_accuracy_stands_beside_every_metric(study) -> None:
    rows = rows_of(compare(*evaluations(study, "M_rand"), *evaluations(study, "M_hard")), "modality_accuracy")
    for task in TASKS:
        tops = [ranking_of("M_hard", seed)[qid][0] for seed in SEEDS for qid in qids_of(task)]
        assert rows[task.name].other == pytest.approx(mean(DOCUMENTS[did] == task.candidate_modality for did in tops))


def test_a_metric_a_cut_off_and_local_pools_can_be_asked_for(study) -> None:
    runs = evaluations(study, "M_rand", (0,)) + evaluations(study, "M_hard", (0,))
    local = rows_of(compare(*runs, pool="local", k=2))
    assert local[TASKS[0].name].other == pytest.approx(hit_of("M_hard", 0, TASKS[0], k=2, pool="local"))
    assert {row.measure.metric for row in compare(*runs, metric="ndcg", k=3).differences[0]} == {
        "ndcg",
        "modality_accuracy",
    }
    assert {row.measure for row in compare(*runs, metric="modality_accuracy").differences[0]} == {
        ("modality_accuracy", 1)
    }


def test_folders_joined_by_name_by_labels_or_by_a_pattern_give_the_same(study) -> None:
    by_labels = compare(*evaluations(study, "M_rand"), *evaluations(study, "M_hard"))
    by_name = compare(named("a", evaluations(study, "M_rand")), named("b", evaluations(study, "M_hard")))
    pattern = compare(*(f"{study}/seed*/with_instructions/evaluate_{model}" for model in ("M_rand", "M_hard")))
    assert titles(by_name) == ["b against a"]
    assert by_labels.differences == by_name.differences == pattern.differences
    assert by_labels.pairing.pairs[0].is_paired


def test_other_seeds_are_not_paired(study) -> None:
    runs = named("a", evaluations(study, "M_rand", (0, 1))), named("b", evaluations(study, "M_hard", (1, 2)))
    comparison = compare(*runs)
    assert not comparison.pairing.pairs[0].is_paired
    row = rows_of(comparison)[TASKS[0].name]
    assert row.by_seed == ()
    assert row.other == pytest.approx(mean(hit_of("M_hard", seed, TASKS[0]) for seed in (1, 2)))


def test_every_further_system_is_compared_with_the_first(study) -> None:
    runs = [folder for model in ("control", "M_rand", "M_hard") for folder in evaluations(study, model)]
    comparison = compare(*runs)
    assert titles(comparison) == ["M_rand against control", "M_hard against control"]
    assert rows_of(comparison, pair=1)[TASKS[0].name].base == rows_of(comparison, pair=0)[TASKS[0].name].base


def test_whole_run_folders_are_matched_by_their_labels(study, tmp_path) -> None:
    other = shutil.copytree(study, tmp_path / "later")
    for folder in other.glob("seed*/*/evaluate_control"):
        shutil.rmtree(folder)
    comparison = compare(study, other)
    assert len(comparison.pairing.pairs) == 2
    assert titles(comparison) == ["later M_rand against toy M_rand", "later M_hard against toy M_hard"]
    assert comparison.pairing.left_out == ("CLIP_SF control with instructions (toy)",)
    assert all(row.difference == 0 and row.p == 1 for rows in comparison.differences for row in rows)


def test_run_folders_whose_encoder_differs_are_matched_by_the_rest(copied, study) -> None:
    for mark in copied.glob("seed*/*/evaluate_*/stage.json"):
        mark.write_text(mark.read_text().replace("CLIP_SF", "NV-Embed"))
    assert titles(compare(study, copied))[0] == "NV-Embed M_rand against CLIP_SF M_rand"


def test_the_same_draws_give_the_same_numbers_whatever_else_is_compared(study) -> None:
    two = compare(*evaluations(study, "M_rand"), *evaluations(study, "M_hard"))
    three = compare(*(f for model in ("M_rand", "control", "M_hard") for f in evaluations(study, model)))
    assert two.differences[0] == three.differences[1]


def test_an_evaluation_that_no_recipe_made_needs_to_be_told_its_data(study, tmp_path) -> None:
    for model in ("M_rand", "M_hard"):
        (tmp_path / model / "test").mkdir(parents=True)
        shutil.copy(evaluations(study, model, (0,))[0] / "run.parquet", tmp_path / model / "test/run.parquet")
    runs = [tmp_path / model / "test" for model in ("M_rand", "M_hard")]
    with pytest.raises(
        InputError, match=r"M_rand/test: the data it was evaluated on is not to be found \(fix: .*--data"
    ):
        compare(*runs)
    comparison = compare(*runs, data=study / "shared/data/shards")
    assert titles(comparison) == ["M_hard against M_rand"]


# What is refused


def refused(*runs, **options):
    with pytest.raises(InputError) as error:
        compare(*runs, **options)
    line = str(error.value)
    assert "\n" not in line
    assert "(fix: " in line
    return line


def test_one_run_alone_is_refused_with_what_it_holds(study) -> None:
    assert "nothing to compare with: CLIP_SF M_rand" in refused(*evaluations(study, "M_rand"))
    assert "CLIP_SF M_rand with_instructions, CLIP_SF control with_instructions" in refused(study)
    assert "needs two or more run folders" in refused()


def test_a_folder_that_is_no_evaluation_is_named_with_what_it_is(study, tmp_path) -> None:
    good = evaluations(study, "M_rand", (0,))[0]
    assert "is a fit stage, not an evaluation" in refused(good, study / "seed0/with_instructions/M_hard")
    assert refused(good, tmp_path).startswith(f"{tmp_path}: is no run")
    assert refused(good, tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'}: is not a folder")
    assert "no folder is called so" in refused(good, f"{tmp_path}/seed*/nothing")


def test_an_unfinished_evaluation_is_refused(copied) -> None:
    a, b = (evaluations(copied, model, (0,))[0] for model in ("M_rand", "M_hard"))
    (b / "stage.json").rename(b / "started.json")
    assert refused(a, b).startswith(f"{b}: is not finished")


@pytest.mark.parametrize(("what", "value"), [("data_hash", "0" * 64), ("split", "val")])
def test_evaluations_of_other_data_or_of_another_split_are_refused(copied, what, value) -> None:
    a, b = (evaluations(copied, model, (0,))[0] for model in ("M_rand", "M_hard"))
    rewrite(b / "run.parquet", **{what: value})
    line = refused(a, b)
    assert line.startswith(str(b))
    assert f"was evaluated on other {what.removesuffix('_hash')} ({value[:12]}) than {a}" in line


def test_data_other_than_that_of_the_runs_are_refused(copied, study) -> None:
    folders = [evaluations(copied, model, (0,))[0] for model in ("M_rand", "M_hard")]
    for folder in folders:
        rewrite(folder / "run.parquet", data_hash="f" * 64)
    assert "is not the data that" in refused(*folders, data=study / "shared/data/shards")


def test_rankings_of_other_queries_are_refused(copied) -> None:
    a, b = (evaluations(copied, model, (0,))[0] for model in ("M_rand", "M_hard"))
    gone = list(QUERIES)[7]
    rows = [
        (qid, did, 9.0 - n)
        for qid, dids in ranking_of("M_hard", 0).items()
        if qid != gone
        for n, did in enumerate(dids)
    ]
    rewrite(b / "run.parquet", from_pairs(*zip(*rows, strict=True)))
    assert f"answers other queries than {a / 'run.parquet'}: {gone} is in one of them only" in refused(a, b)


def test_a_ranking_too_short_for_the_cut_off_is_refused_where_others_are_longer(copied) -> None:
    a, b = (evaluations(copied, model, (0,))[0] for model in ("M_rand", "M_hard"))
    rows = [(qid, did, 9.0 - n) for qid, dids in ranking_of("M_hard", 0).items() for n, did in enumerate(dids[:4])]
    rewrite(b / "run.parquet", from_pairs(*zip(*rows, strict=True)))
    assert len(read_ranking(b / "run.parquet").document) == 4 * len(QUERIES)
    assert "has 4 documents a query, others have up to 10: too few for a cut-off of 5" in refused(a, b)
    assert rows_of(compare(a, b, k=3))[TASKS[0].name].n == 6


def test_a_seed_twice_and_settings_that_mean_nothing_are_refused(study) -> None:
    a, b = (evaluations(study, model, (0,))[0] for model in ("M_rand", "M_hard"))
    assert "seed 0 of x is there twice" in refused(named("x", [a, a]), b)
    assert "metric 'hits' is unknown" in refused(a, b, metric="hits")
    assert "k 0 is no cut-off" in refused(a, b, k=0)
    assert "0 samples are too few" in refused(a, b, samples=0)


def test_several_wordings_of_a_query_count_as_their_mean(copied) -> None:
    a, b = (evaluations(copied, model, (0,))[0] for model in ("M_rand", "M_hard"))
    both = {
        f"{qid}#w{n}": dids
        for n, model in enumerate(("M_rand", "M_hard"), 1)
        for qid, dids in ranking_of(model, 0).items()
    }
    rows = [(qid, did, 9.0 - n) for qid, dids in both.items() for n, did in enumerate(dids)]
    rewrite(b / "run.parquet", from_pairs(*zip(*rows, strict=True)))
    row = rows_of(compare(a, b))[TASKS[0].name]
    assert row.other == pytest.approx(mean(hit_of(model, 0, TASKS[0]) for model in ("M_rand", "M_hard")))


def test_orders_of_one_ranking_by_several_rerankers_are_compared(copied) -> None:
    for folder in copied.glob("seed*/*/evaluate_M_hard"):
        for name in ("none", "trained"):
            other = shutil.copytree(folder, folder.with_name(f"evaluate_{name}"))
            stage = json.loads((other / "stage.json").read_text())
            stage["labels"] |= {"reranker": name}
            (other / "stage.json").write_text(json.dumps(stage))
    comparison = compare(*evaluations(copied, "none"), *evaluations(copied, "trained"))
    assert titles(comparison) == ["M_hard, trained against M_hard"]
