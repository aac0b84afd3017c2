"""Instructions: reading M-BEIR's file, choosing a wording, M-BEIR's text form."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_mmembed.data.instructions import MBEIR_INSTRUCTIONS, Instructions, PromptPolicy, choose, format_text
from lit_mmembed.data.tasks import MBEIR_TASKS, task_by_name
from lit_mmembed.errors import InputError

HEADER = "query_modality\tcand_modality\tdataset_name\tdataset_id\tprompt_1\tprompt_2\n"


def write(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "instructions.tsv"
    path.write_text(header + rows, encoding="utf-8")
    return path


def test_mbeirs_own_file_has_four_wordings_for_each_of_the_16_rows() -> None:
    instructions = Instructions.load(MBEIR_INSTRUCTIONS)
    assert len(instructions) == 16
    assert [len(instructions.wordings(task)) for task in MBEIR_TASKS] == [4] * 16
    first = instructions.wordings(task_by_name("nights_task4"))[0]
    assert first == "Find a day-to-day image that looks similar to the provided image."


def test_modalities_may_stand_in_either_order_and_empty_wordings_are_dropped(tmp_path: Path) -> None:
    path = write(tmp_path, "text,image\timage\tCIRR\t8\tone\t\n\n")
    assert Instructions.load(path).wordings(task_by_name("cirr_task7")) == ("one",)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("text\timage\tX\tnine\tone\t\n", "instructions.tsv:2: dataset_id 'nine' is not an integer"),
        ("text\tvideo\tX\t9\tone\t\n", "instructions.tsv:2: modality 'video' is unknown"),
        ("text\timage\tX\t9\t\t\n", "instructions.tsv:2: has no wording"),
        ("\ntext\timage\tX\t9\tone\t\ntext\timage\tX\t9\ttwo\t\n", "instructions.tsv:4: repeats"),
        ("text\n", "instructions.tsv:2: has no wording"),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        Instructions.load(write(tmp_path, rows))
    assert message in str(raised.value)


def test_missing_columns_a_missing_file_and_an_empty_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"instructions\.tsv:1: lacks the column cand_modality, dataset_id"):
        Instructions.load(write(tmp_path, "", header="query_modality\tdataset_name\tprompt_1\n"))
    with pytest.raises(InputError, match=r"none\.tsv: does not exist"):
        Instructions.load(tmp_path / "none.tsv")
    with pytest.raises(InputError, match="lacks the column"):
        Instructions.load(write(tmp_path, "", header=""))


def test_a_missing_row_is_reported_with_the_row_to_add(tmp_path: Path) -> None:
    path = write(tmp_path, "text\timage\tMSCOCO\t9\tone\t\n")
    with pytest.raises(InputError) as raised:
        Instructions.load(path).wordings(task_by_name("oven_task8"))
    assert str(path) in str(raised.value)
    assert "query_modality image,text, cand_modality image,text, dataset_id 5" in str(raised.value)


def test_the_first_policy_draws_nothing_and_none_gives_nothing() -> None:
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    assert choose(("a", "b"), PromptPolicy.FIRST, generator) == "a"
    assert choose(("a", "b"), PromptPolicy.NONE, generator) is None
    assert choose((), PromptPolicy.RANDOM, generator) is None
    assert generator.bit_generator.state == before


@pytest.mark.parametrize("policy", [PromptPolicy.RANDOM, PromptPolicy.ALL])
def test_drawn_wordings_are_even_and_repeat_with_the_seed(policy: PromptPolicy) -> None:
    def draw(seed: int) -> list[str | None]:
        generator = np.random.default_rng(seed)
        return [choose("abcd", policy, generator) for _ in range(4000)]

    drawn = draw(1)
    assert drawn == draw(1) != draw(2)
    assert all(900 < drawn.count(letter) < 1100 for letter in "abcd")


@pytest.mark.parametrize(
    ("text", "tidy"),
    [
        ("a cat", "A cat."),
        ('  "a cat?" \r\n', "A cat?"),
        ("Wow!", "Wow!"),
        ("", ""),
        ('\r ""', ""),
        ("éclair", "Éclair."),
        ('the "red" one', 'The "red" one.'),
    ],
)
def test_text_is_put_in_mbeirs_form(text: str, tidy: str) -> None:
    assert format_text(text) == tidy


@given(st.text())
def test_text_in_mbeirs_form_is_empty_or_closed_and_has_no_carriage_return(text: str) -> None:
    tidy = format_text(text)
    assert tidy == "" or tidy[-1] in ".?!"
    assert "\r" not in tidy
