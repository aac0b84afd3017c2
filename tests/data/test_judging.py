from __future__ import annotations

import pytest

from lit_mmembed.data.judging import answering_prompt, judging_prompt, judging_template
from lit_mmembed.data.tasks import MBEIR_TASKS, task_by_name
from lit_mmembed.errors import InputError
from lit_mmembed.types import Modality, Sample, Task

QUERY_IMAGE, DOCUMENT_IMAGE = b"query's", b"document's"


def sample(modality: Modality, text: str, image: bytes) -> Sample:
    return Sample(
        id="1:1",
        text=text if "text" in modality else None,
        image=image if "image" in modality else None,
        modality=modality,
    )


def prompt_of(task):
    query = sample(task.query_modality, "What is it?", QUERY_IMAGE)
    return judging_prompt(task, query, sample(task.candidate_modality, "A fox.", DOCUMENT_IMAGE))


@pytest.mark.parametrize(
    ("name", "text", "images"),
    [
        (
            "mscoco_task0",
            "<image>\nCaption:What is it?\nDoes the above daily-life image match the caption? True or False",
            (DOCUMENT_IMAGE,),
        ),
        (
            "webqa_task1",
            "Question: What is it?\nAnswer: A fox.\nDoes the answer correctly answer the question? True or False",
            (),
        ),
        (
            "nights_task4",
            "<image>\n<image>\nDoes the above two images have the same scene? True or False",
            (QUERY_IMAGE, DOCUMENT_IMAGE),
        ),
        (
            "infoseek_task6",
            "<image>\nQuestion:What is it?\nAnswer:A fox.Does the answer correctly answer the question? True or False",
            (QUERY_IMAGE,),
        ),
        (
            "cirr_task7",
            "<image>\nCaption:What is it?\n"
            "Does the above caption describe the modification of the image? True or False",
            (DOCUMENT_IMAGE,),
        ),
    ],
)
def test_the_prompts_are_those_of_table_13(name, text, images):
    assert prompt_of(task_by_name(name)) == (text, images)


@pytest.mark.parametrize("task", MBEIR_TASKS, ids=lambda task: task.name)
def test_every_row_of_mbeir_has_a_prompt_with_as_many_placeholders_as_images(task):
    prompt = prompt_of(task)
    assert prompt.text.count("<image>") == len(prompt.images)
    assert prompt.text.endswith("True or False")
    assert "{" not in prompt.text


def test_a_dataset_that_the_paper_does_not_know_takes_the_template_of_its_task_number():
    own = Task("Emoji", 20, 0, 1, Modality.TEXT, Modality.IMAGE)
    assert judging_template(own) == judging_template(task_by_name("mscoco_task0"))


def test_a_text_that_looks_like_a_placeholder_stays_as_it_is():
    query = Sample("1:1", "What is {c_txt}?")
    prompt = judging_prompt(task_by_name("webqa_task1"), query, Sample("1:2", "{q_txt}"))
    assert prompt.text.startswith("Question: What is {c_txt}?\nAnswer: {q_txt}\n")


def test_a_part_that_is_missing_goes_with_its_line_break():
    prompt = judging_prompt(task_by_name("mscoco_task0"), Sample("1:1", "A fox."), Sample("1:2", "A den."))
    assert prompt.text.startswith("Caption:A fox.\n") and prompt.images == ()


def test_a_model_that_is_to_answer_reads_the_prompt_up_to_the_documents_text():
    query = Sample("1:1", "What is it?", QUERY_IMAGE, Modality.IMAGE_TEXT)
    made = {name: answering_prompt(task_by_name(name), query) for name in ("oven_task6", "mscoco_task3", "cirr_task7")}
    assert made["oven_task6"] == ("<image>\nQuestion:What is it?\nAnswer:", (QUERY_IMAGE,))
    assert made["mscoco_task3"] == ("<image>\nCaption:", (QUERY_IMAGE,))
    assert made["cirr_task7"] is None


def test_text_retrieval_has_no_prompt():
    with pytest.raises(InputError, match="no True-or-False prompt for 9/FiQA"):
        judging_template(Task("FiQA", 100, 1, 9, Modality.TEXT, Modality.TEXT))
