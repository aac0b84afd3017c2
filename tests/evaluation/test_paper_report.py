"""`mmembed report --paper`, Tables 1, 2, 5, 6 and 9: cells against numbers worked out by hand."""

import pytest

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
    write_systems,
)

SYSTEMS = {("M_rand", "CLIP_SF"): 0.0, ("M_hard", "CLIP_SF"): 2.0, ("continual", "NV-Embed"): 3.0}
TABLE_9 = ["ArguAna", "ClimateFEVER", "CQADupstackRetrieval", "DBPedia", "FEVER", "FiQA2018", "HotpotQA", "MSMARCO"]
TABLE_9 += ["NFCorpus", "NQ", "QuoraRetrieval", "SCIDOCS", "SciFact", "Touche2020", "TRECCOVID"]


@pytest.fixture
def mbeir(tmp_path):
    return write_systems(tmp_path / "mbeir", MBEIR, MBEIR_MEANS, systems=SYSTEMS)


def test_a_cell_of_table_1_is_ours_the_papers_and_the_difference(mbeir, tmp_path, capsys):
    written = paper(capsys, tmp_path / "out", mbeir, numbers=[1])
    assert written.numbers(1, "visualnews_task0", "M_rand CLIP_SF") == (41.0, 1.0, 43.8, -2.8)
    assert written.numbers(1, "cirr_task7", "MM-Embed") == (54.0, 1.0, 50.0, 4.0)
    assert written.cell(1, "cirr_task7", "MM-Embed")["seeds"] == [0, 1, 2]
    stages = [f"mbeir/seed{seed}/main/evaluate_continual_nv_embed" for seed in range(3)]
    assert written.cell(1, "cirr_task7", "MM-Embed")["stages"] == stages
    assert "41.0 ± 1.0 / 43.8 / −2.8" in written.stdout and "41.0 ± 1.0 / 43.8 / −2.8" in written.markdown
    assert '<small class="paper">paper 43.8</small><small class="gap down">−2.8</small>' in written.page
    assert "over 3 seeds" in written.stdout and "over 3 seeds" in written.page


def test_averages_are_compared_where_all_rows_were_measured(mbeir, tmp_path, capsys):
    written = paper(capsys, tmp_path / "out", mbeir, numbers=[1])
    assert written.numbers(1, "avg_all", "M_rand CLIP_SF") == (47.9, 1.0, 47.4, 0.5)
    assert written.numbers(1, "avg_multi_modal", "M_hard CLIP_SF") == (43.0, 1.0, 39.5, 3.5)
    fewer = {task: value for task, value in MBEIR.items() if task != "nights_task4"}
    write_systems(tmp_path / "fewer", fewer, MBEIR_MEANS, systems=SYSTEMS)
    written = paper(capsys, tmp_path / "out", tmp_path / "fewer", numbers=[1])
    assert written.numbers(1, "avg_all", "M_rand CLIP_SF") == (None, None, 47.4, None)
    assert written.numbers(1, "avg_single_modal", "M_rand CLIP_SF") == (None, None, 51.7, None)
    assert written.numbers(1, "avg_multi_modal", "M_rand CLIP_SF") == (41.0, 1.0, 40.1, 0.9)


def test_a_cell_that_was_not_run_shows_the_papers_alone(mbeir, tmp_path, capsys):
    written = paper(capsys, tmp_path / "out", mbeir, numbers=[1])
    cell = written.cell(1, "mscoco_task0", "M_hard LLaVA-P")
    assert (cell["ours"], cell["paper"], cell["difference"], cell["seeds"]) == (None, 73.8, None, [])
    assert '<td class="none"><small class="paper">paper 73.8</small></td>' in written.page
    assert "(73.8)" in written.stdout
    assert written.cell(1, "mteb", "M_rand CLIP_SF") is None


def test_what_mining_changed_is_taken_seed_by_seed(mbeir, tmp_path, capsys):
    written = paper(capsys, tmp_path / "out", mbeir, numbers=[1])
    assert written.numbers(1, "visualnews_task0", "M_hard − M_rand CLIP_SF")[:3] == (2.0, 0.0, -1.1)


def test_fewer_queries_than_published_are_said(mbeir, tmp_path, capsys):
    assert "mscoco_task0 (10 of 24,809)" in paper(capsys, tmp_path / "out", mbeir, numbers=[1]).stdout


def test_another_benchmark_has_its_own_rows_beside_means_and_no_difference(tmp_path, capsys):
    run = write_systems(tmp_path / "emoji", EMOJI, EMOJI_MEANS, systems=SYSTEMS)
    written = paper(capsys, tmp_path / "out", run, numbers=[1, 2])
    cell = written.cell(1, "emoji_task0", "M_rand CLIP_SF")
    mean = (43.8 + 72.0 + 16.4) / 3
    assert (round(cell["ours"], 6), round(cell["paper"], 3), cell["difference"]) == (5.0, round(mean, 3), None)
    assert cell["paper_is"] == "mean of visualnews_task0, mscoco_task0, fashion200k_task0"
    assert written.cell(1, "atlas_task1", "M_rand CLIP_SF")["paper"] == 83.2
    assert written.numbers(1, "avg_all", "M_rand CLIP_SF") == (8.0, 1.0, 47.4, None)
    assert written.cell(1, "visualnews_task0", "M_rand CLIP_SF") is None
    assert "5.0 ± 1.0 / ≈ 44.1" in written.stdout and "says nothing about a reproduction" in written.stdout
    assert [row["difference"] for row in written.json["cells"]] == [None] * len(written.json["cells"])


def test_table_2_has_three_measures_of_mscoco(tmp_path, capsys):
    scores = headline(MBEIR) + measured("hit", 1, {"mscoco_task0": 40.0}) + measured("hit", 5, {"mscoco_task0": 70.0})
    scores += measured("modality_accuracy", 1, {"mscoco_task0": 99.0, "mscoco_task3": 100.0})
    write_evaluation(tmp_path / "run", "evaluate", scores, model="M_hard", encoder="NV-Embed-v1")
    written = paper(capsys, tmp_path / "out", tmp_path / "run", numbers=[2])
    assert written.numbers(2, "mscoco_task0 hit@1", "M_hard NV-Embed") == (40.0, None, 49.8, -9.8)
    assert written.numbers(2, "mscoco_task0 modality_accuracy@1", "M_hard NV-Embed") == (99.0, None, 100.0, -1.0)
    assert written.numbers(2, "mscoco_task3 modality_accuracy@1", "M_hard NV-Embed") == (100.0, None, 100.0, 0.0)
    assert written.cell(2, "visualnews_task0 hit@1", "M_hard NV-Embed") is None
    assert "One seed." in written.stdout


def test_table_5_compares_instructions_over_local_pools_and_says_the_split(tmp_path, capsys):
    for model, asked, shift in (("zero-shot", "with", 0), ("M_rand", "with", 5), ("M_rand", "without", 2)):
        scores = headline(shifted(MBEIR, shift), pool="local") + headline(MBEIR)
        write_evaluation(tmp_path / "run", f"evaluate_{model}_{asked}", scores, model=model, instructions=asked)
    written = paper(capsys, tmp_path / "out", tmp_path / "run", numbers=[5])
    assert written.numbers(5, "nights_task4", "fine-tuned NV-Embed with") == (39.0, None, 30.9, 8.1)
    assert written.numbers(5, "nights_task4", "fine-tuned NV-Embed without") == (36.0, None, 31.6, 4.4)
    assert written.numbers(5, "nights_task4", "zero-shot NV-Embed without") == (None, None, 29.3, None)
    assert written.cell(5, "webqa_task1", "fine-tuned NV-Embed with") is None
    assert "Ours are of the split test" in written.stdout


def test_table_5_takes_development_queries_where_there_are_both(tmp_path, capsys):
    for split, shift in (("test", 0), ("val", 7)):
        for asked in ("with", "without"):
            scores = headline(shifted(MBEIR, shift), pool="local")
            labels = {"model": "M_rand", "instructions": asked, "split": split}
            write_evaluation(tmp_path / "run", f"evaluate_{split}_{asked}", scores, **labels)
    written = paper(capsys, tmp_path / "out", tmp_path / "run", numbers=[5])
    assert written.numbers(5, "nights_task4", "fine-tuned NV-Embed with")[0] == 41.0
    assert "Ours are of the split" not in written.stdout


def texts(run, model, values, means, **labels):
    scores = measured("ndcg", 10, {**values, **means}, pool="local") + measured("hit", 5, values, pool="local")
    write_evaluation(run, f"texts_{model}", scores, model=model, set="texts", **labels)


def test_text_sets_of_mteb_fill_tables_9_and_6_and_the_last_row_of_1(tmp_path, capsys):
    values = {name: 30.0 + 2 * place for place, name in enumerate(TABLE_9)}
    texts(tmp_path / "run", "continual", values, {"avg_mteb15": 44.0})
    write_evaluation(tmp_path / "run", "evaluate", headline({**MBEIR, **MBEIR_MEANS}), model="continual")
    written = paper(capsys, tmp_path / "out", tmp_path / "run", numbers=[1, 6, 9])
    assert written.numbers(9, "MM-Embed", "Climate-FEVER") == (32.0, None, 39.3, -7.3)
    assert written.numbers(9, "MM-Embed", "avg") == (44.0, None, 60.3, -16.3)
    assert written.numbers(1, "mteb", "MM-Embed") == (44.0, None, 60.3, -16.3)
    seven = (30 + 40 + 46 + 50 + 52 + 54 + 58) / 7  # ArguAna, FiQA, NFCorpus, Quora, SCIDOCS, SciFact, TREC-COVID
    assert written.numbers(6, "continual", "BEIR") == (round(seven, 1), None, 63.1, round(seven - 63.1, 1))
    assert written.numbers(6, "continual", "M-BEIR, tasks 1 to 5") == (51.0, None, 55.6, -4.6)


def test_other_text_sets_have_their_own_columns_and_only_the_papers_mean(tmp_path, capsys):
    texts(tmp_path / "run", "zero-shot", {"cities_task1": 20.0, "claims_task1": 40.0}, {"avg_all": 30.0})
    written = paper(capsys, tmp_path / "out", tmp_path / "run", numbers=[9, 6])
    assert written.numbers(9, "NV-Embed", "cities") == (20.0, None, None, None)
    assert written.numbers(9, "NV-Embed", "avg") == (30.0, None, 59.4, None)
    assert written.cell(9, "NV-Embed", "ArguAna") is None
    assert written.numbers(6, "zero-shot", "BEIR") == (30.0, None, 62.9, None)


def test_a_setting_beside_a_system_is_not_the_system(tmp_path, capsys):
    run = write_systems(tmp_path / "run", MBEIR, MBEIR_MEANS, systems={("continual (a fifth)", "NV-Embed"): 0.0})
    written = paper(capsys, tmp_path / "out", run)
    assert written.json["cells"] == [] and written.json["not_run"] == [1, 2, 3, 4, 5, 6, 7, 9]
