"""`mmembed report --paper` from several run folders: what is equal counts once, what differs is named; bad input."""

import shutil

import pytest

from lit_mmembed.cli import stages
from lit_mmembed.errors import InputError
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

RANDOM, HARD, MM = ("M_rand", "NV-Embed"), ("M_hard", "NV-Embed"), ("continual", "NV-Embed")


def folder(path, systems, seeds=(0, 1)):
    return write_systems(path, EMOJI, EMOJI_MEANS, systems=systems, seeds=seeds)


def test_equal_numbers_of_two_run_folders_count_once(tmp_path, capsys):
    first = folder(tmp_path / "first", {RANDOM: 0.0})
    second = folder(tmp_path / "second", {RANDOM: 0.0, MM: 5.0})
    written = paper(capsys, tmp_path / "out", first, second, numbers=[1])
    cell = written.cell(1, "emoji_task0", "M_rand NV-Embed")
    assert cell["seeds"] == [0, 1] and {stage.split("/")[0] for stage in cell["stages"]} == {"first"}
    assert written.numbers(1, "emoji_task0", "MM-Embed")[0] == 9.5
    assert "MM-Embed: second/main/evaluate_continual_nv_embed (seeds 0, 1)" in written.stdout


@pytest.mark.parametrize("second", ["run", "other"])
def test_local_pools_that_only_a_later_evaluation_has_are_in_the_tables(tmp_path, capsys, second):
    of_system = {"model": "M_rand", "encoder": "NV-Embed"}
    for asked, points in (("with", 4.0), ("without", 1.0)):
        for place, pool, more in (("run", "global", 0.0), (second, "local", 20.0)):
            scores = headline(shifted({**EMOJI, **EMOJI_MEANS}, points + more), pool=pool)
            write_evaluation(tmp_path / place, f"{pool}_{asked}", scores, instructions=asked, **of_system)
    folders = [tmp_path / name for name in dict.fromkeys(("run", second))]
    written = paper(capsys, tmp_path / "out", *folders, numbers=[1, 5])
    assert written.numbers(5, "emoji_task0", "fine-tuned NV-Embed with")[0] == 28.0
    assert written.numbers(5, "emoji_task0", "fine-tuned NV-Embed without")[0] == 25.0
    assert written.numbers(1, "emoji_task0", "M_rand NV-Embed")[0] == 8.0
    assert written.numbers(1, "avg_all", "M_rand NV-Embed")[0] == 11.0


def test_seeds_of_two_run_folders_are_joined(tmp_path, capsys):
    first, second = (folder(tmp_path / name, {RANDOM: 0.0}, [seed]) for seed, name in enumerate(("first", "second")))
    written = paper(capsys, tmp_path / "out", first, second, numbers=[1])
    assert written.numbers(1, "emoji_task0", "M_rand NV-Embed")[:2] == (4.5, 0.7)


def test_different_numbers_of_one_system_and_seed_are_refused_by_name(tmp_path, capsys):
    first, second = folder(tmp_path / "first", {RANDOM: 0.0}), folder(tmp_path / "second", {RANDOM: 1.0})
    with pytest.raises(InputError) as refused:
        paper(capsys, tmp_path / "out", first, second)
    words = str(refused.value)
    assert "second/seed0/main/evaluate_m_rand_nv_embed: M_rand NV-Embed, seed 0, emoji_task0, headline" in words
    assert "5.00 here, but 4.00 in" in words and "first/seed0/main/evaluate_m_rand_nv_embed" in words
    assert "leave one of the run folders out" in words and len(words.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_of_folders_that_differ_the_first_counts_where_that_was_asked_for(tmp_path, capsys):
    first = folder(tmp_path / "first", {RANDOM: 0.0})
    second = folder(tmp_path / "second", {RANDOM: 1.0, MM: 5.0}, seeds=(0, 1, 2))
    for one, other, ours in ((first, second, 4.5), (second, first, 6.0)):
        written = paper(capsys, tmp_path / "out", one, other, numbers=[1], options=["--on-conflict", "first"])
        assert written.numbers(1, "emoji_task0", "M_rand NV-Embed")[0] == ours
        words = f"M_rand NV-Embed: {other.name} has other values than {one.name}, which is named first"
        assert words in written.stdout and words in written.markdown and words in written.page
        assert written.numbers(1, "emoji_task0", "MM-Embed")[0] == 10.0


def test_text_sets_of_a_model_that_does_not_count_do_not_stand_in_its_column(tmp_path, capsys):
    first, second = folder(tmp_path / "first", {HARD: 0.0}), folder(tmp_path / "second", {HARD: 1.0})
    scores = measured("ndcg", 10, {"cities_task1": 20.0, "avg_all": 20.0}, pool="local")
    write_evaluation(second, "texts", scores, model="M_hard", set="texts")
    options = ["--on-conflict", "first"]
    assert (
        paper(capsys, tmp_path / "out", first, second, options=options).cell(1, "mteb", "M_hard NV-Embed")["ours"]
        is None
    )
    assert (
        paper(capsys, tmp_path / "out", second, first, options=options).numbers(1, "mteb", "M_hard NV-Embed")[0] == 20.0
    )


def test_two_stages_of_one_folder_that_differ_are_refused_however_it_is_asked(tmp_path, capsys):
    run = folder(tmp_path / "run", {RANDOM: 0.0}, [0])
    write_evaluation(run, "again", headline(MBEIR | {"emoji_task0": 9.0}), variant="other", model="M_rand")
    with pytest.raises(InputError, match="in_report: false"):
        paper(capsys, tmp_path / "out", run, options=["--on-conflict", "first"])


def test_one_table_is_of_one_benchmark(tmp_path, capsys):
    emoji = folder(tmp_path / "emoji", {RANDOM: 0.0})
    mbeir = write_systems(tmp_path / "mbeir", MBEIR, MBEIR_MEANS, systems={HARD: 0.0})
    with pytest.raises(InputError, match="name the run folders of one benchmark"):
        paper(capsys, tmp_path / "out", emoji, mbeir)


def test_folders_of_one_name_are_told_apart_by_their_paths(tmp_path, capsys):
    one = folder(tmp_path / "a/run", {RANDOM: 0.0})
    other = shutil.copytree(folder(tmp_path / "b/run", {HARD: 0.0}), tmp_path / "c/run")
    cell = paper(capsys, tmp_path / "out", one, other).cell(1, "emoji_task0", "M_hard NV-Embed")
    assert cell["stages"][0].startswith(str(other))


def test_the_same_folders_give_the_same_bytes(tmp_path, capsys):
    run = folder(tmp_path / "run", {RANDOM: 0.0, MM: 1.0})
    first = paper(capsys, tmp_path / "out", run)
    second = paper(capsys, tmp_path / "again", run, run)
    assert (first.page, first.markdown, first.json) == (second.page, second.markdown, second.json)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["RUN", "--paper", "8"], "there is no table 8 that runs can fill"),
        (["nowhere", "--paper"], "nowhere: is not a folder"),
        (["EMPTY", "--paper"], "holds no finished evaluate stage"),
        (["RUN", "EMPTY"], "takes one run folder, not 2"),
        (["RUN", "--on-conflict", "first"], "--on-conflict is for --paper"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, flags, words):
    places = {"RUN": folder(tmp_path / "run", {RANDOM: 0.0}), "EMPTY": tmp_path / "empty"}
    places["EMPTY"].mkdir()
    with pytest.raises(InputError, match=words):
        stages.main(["report", *(str(places.get(flag, flag)) for flag in flags), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
