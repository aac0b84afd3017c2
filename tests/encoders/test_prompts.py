"""Prompts beside the strings of Tables 11 and 12, written out."""

from __future__ import annotations

import pytest

from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.encoders.prompts import EosPrompts, OneWordPrompts, Part, ZeroShotPrompts, fill
from lit_mmembed.errors import InputError
from lit_mmembed.types import EncoderRow, Side

IMAGE = b"an image"
TASKS = {task.label: task for task in MBEIR_TASKS}
EOS = EosPrompts()
NV_EMBED = EosPrompts(query="Instruct: {instruction}\nQuery: {image}\n{text}")


def string(style, text, image=None, side=Side.QUERY, instruction=None, task=None):
    row = EncoderRow(text, image, side, instruction, TASKS[task] if task else None)
    return "".join("<img>" if part.kind == "image" else part.string for part in style.parts(row))


@pytest.mark.parametrize(
    ("text", "image", "instruction", "expected"),
    [
        ("a fox", None, "Find it.", "Find it.\nQuery: a fox"),
        (None, IMAGE, "Find it.", "Find it.\nQuery: <img>"),
        ("a fox", IMAGE, "Find it.", "Find it.\nQuery: <img>\na fox"),
        ("a fox", None, None, "Query: a fox"),
        (None, IMAGE, None, "Query: <img>"),
        ("a fox", IMAGE, None, "Query: <img>\na fox"),
    ],
)
def test_queries_of_table_11(text, image, instruction, expected):
    assert string(EOS, text, image, instruction=instruction) == expected
    released = f"Instruct: {expected}" if instruction else expected
    assert string(NV_EMBED, text, image, instruction=instruction) == released


@pytest.mark.parametrize(
    ("text", "image", "expected"), [("a fox", None, "a fox"), (None, IMAGE, "<img>"), ("a fox", IMAGE, "<img>\na fox")]
)
def test_documents_of_table_11_have_no_instruction(text, image, expected):
    assert string(EOS, text, image, Side.CANDIDATE) == expected
    assert string(OneWordPrompts(), text, image, Side.CANDIDATE) == f"{expected}\nDescribe the above in one word:"


@pytest.mark.parametrize(
    ("task", "text", "image", "expected"),
    [
        ("1/MSCOCO", "a fox", None, "[image] a fox\nDescribe the everyday caption in one word:"),
        ("2/WebQA", "who?", None, "[text] who?\nAnswer the question using Wikipedia in one word:"),
        ("3/EDIS", "a fox", None, "[image,text] a fox\nDescribe the news-related caption in one word:"),
        ("4/MSCOCO", None, IMAGE, "[text] <img>\nDescribe the everyday image in one word:"),
        ("5/NIGHTS", None, IMAGE, "[image] <img>\nDescribe the everyday image in one word:"),
        ("7/CIRR", "a dog", IMAGE, "[image] <img>\nModify this image with a dog\nDescribe modified image in one word:"),
        (
            "8/OVEN",
            "what?",
            IMAGE,
            "[image,text] <img>\nwhat?\nAnswer the question based on the interleaved image-text passage from Wikipedia "
            "in one word:",
        ),
    ],
)
def test_queries_of_table_12_follow_their_task(task, text, image, expected):
    assert string(OneWordPrompts(), text, image, instruction="whatever it says", task=task) == expected


def test_every_task_of_m_beir_has_a_template_in_table_12_with_places_for_its_queries():
    for task in MBEIR_TASKS:
        text = "words" if "text" in task.query_modality.value else None
        image = IMAGE if "image" in task.query_modality.value else None
        made = string(OneWordPrompts(), text, image, instruction="i", task=task.label)
        assert made.startswith("[") and made.endswith("in one word:")


def test_a_query_of_no_known_task_is_asked_by_its_instruction_and_one_without_like_a_document():
    style = OneWordPrompts()
    assert string(style, "a fox", IMAGE, instruction="Name it") == "<img>\na fox\nName it in one word:"
    assert string(style, "a fox", task="1/MSCOCO") == "a fox\nDescribe the above in one word:"


def test_further_templates_come_before_the_papers(tmp_path):
    file = tmp_path / "more.yaml"
    file.write_text('1/mscoco: "[image] {text}\\nDraw it in one word:"\n')
    style = OneWordPrompts(templates=file)
    assert string(style, "a fox", instruction="i", task="1/MSCOCO") == "[image] a fox\nDraw it in one word:"
    model = tmp_path / "model"
    model.mkdir()
    again = OneWordPrompts(templates=model / style.init_args(model)["templates"])
    assert string(again, "a", instruction="i", task="1/MSCOCO") == "[image] a\nDraw it in one word:"


def test_zero_shot_prompts_are_those_of_footnote_9():
    style = ZeroShotPrompts()
    assert string(style, "a fox", instruction="unused") == "a fox\nSummary above sentence in one word:"
    assert string(style, None, IMAGE, Side.CANDIDATE) == "<img>\nSummary above image in one word:"
    assert string(style, "a fox", IMAGE) == "<img>\na fox\nSummary above image and sentence in one word:"


def test_braces_in_a_text_are_only_characters():
    row = EncoderRow("{image} {text}\n{instruction}", None, Side.QUERY, "do {text}")
    assert fill("{instruction}\nQuery: {image}\n{text}", row) == [
        Part("instruction", "do {text}"),
        Part("fixed", "\nQuery: "),
        Part("text", "{image} {text}\n{instruction}"),
    ]


@pytest.mark.parametrize(("text", "image", "name"), [("a fox", IMAGE, "image"), ("a fox", IMAGE, "text")])
def test_a_row_with_a_part_that_the_template_has_no_place_for_is_an_error(text, image, name):
    style = EosPrompts(candidate="{text}" if name == "image" else "{image}")
    with pytest.raises(InputError, match=rf"has no place for an? {name}: .*add {{{name}}}"):
        string(style, text, image, Side.CANDIDATE)


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "does not exist"), ("- a\n- b", "is no mapping"), ("a: [", "is not YAML")]
)
def test_a_damaged_file_of_templates_is_an_error(tmp_path, content, problem):
    file = tmp_path / "more.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=f"{file}: {problem}"):
        OneWordPrompts(templates=file)
