"""What is asked: Table 13's words, fallbacks, chat templates, and the answers' tokens behind them."""

from __future__ import annotations

import pytest

from lit_mmembed.data.tasks import task_by_name
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.checkpoint import question_wordings
from lit_mmembed.reranking.prompts import chat_template, reranking_question
from lit_mmembed.reranking.tokens import shared
from lit_mmembed.reranking.true_false import answers_of
from lit_mmembed.types import Modality, Sample
from tests.encoders.small_mllm import llava_folder

LLAVA = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {% for c in m['content'] %}{{ c['text'] }}{% endfor %} "
    "[/INST]{% else %}{% for c in m['content'] %} {{ c['text'] }}{% endfor %}</s>{% endif %}{% endfor %}"
)
CHATML = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def tokenizer(style="bytes"):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(llava_folder(style))


@pytest.mark.parametrize(
    ("task", "text", "images"),
    [
        ("mscoco_task0", "<image>\nCaption:q\nDoes the above daily-life image match the caption? True or False", "c"),
        ("webqa_task1", "Question: q\nAnswer: c\nDoes the answer correctly answer the question? True or False", ""),
        ("nights_task4", "<image>\n<image>\nDoes the above two images have the same scene? True or False", "qc"),
        (
            "oven_task8",
            "<image>\nQuestion:q\nAnswer:cDoes the answer correctly answer the question? True or False",
            "q",
        ),
        (
            "cirr_task7",
            "<image>\nCaption:q\nDoes the above caption describe the modification of the image? True or False",
            "c",
        ),
    ],
)
def test_the_words_are_those_of_table_13_and_the_images_whose_they_are(task, text, images):
    query = Sample("q", "q", b"q", Modality.IMAGE_TEXT)
    asked = reranking_question(task_by_name(task), query, Sample("c", "c", b"c", Modality.IMAGE_TEXT))
    assert asked.prompt.text == text and asked.fallback is None
    assert asked.prompt.images == tuple(letter.encode() for letter in images)


def test_what_a_document_lacks_is_replaced_by_what_it_has():
    query, task = Sample("q", "a fox"), task_by_name("mscoco_task0")
    asked = reranking_question(task, query, Sample("c", "two cats"))
    assert asked.prompt.text.startswith("two cats\nCaption:a fox\n") and asked.prompt.images == ()
    assert asked.fallback == "text_for_image"
    asked = reranking_question(task_by_name("webqa_task1"), query, Sample("c", None, b"c", Modality.IMAGE))
    assert asked.prompt.text.startswith("Question: a fox\nAnswer: <image>\n") and asked.prompt.images == (b"c",)
    assert asked.fallback == "image_for_text"


@pytest.mark.parametrize(
    ("name", "source", "rendered"),
    [
        ("none", None, "is it?"),
        ("llava_mistral", None, "[INST] is it? [/INST]"),
        ("checkpoint", LLAVA, "[INST] is it? [/INST]"),
        ("checkpoint", CHATML, "<|user|>\nis it?\n<|assistant|>\n"),
    ],
)
def test_a_prompt_is_rendered_as_the_template_says(name, source, rendered):
    assert chat_template(name, tokenizer(), source).render("is it?") == rendered


def test_the_checkpoints_template_of_llava_mistral_gives_the_named_ones_answers():
    own, named = chat_template("checkpoint", tokenizer(), LLAVA), chat_template("llava_mistral", tokenizer())
    assert answers_of(tokenizer(), own, ["is it?"]) == answers_of(tokenizer(), named, ["is it?"])


def test_answers_are_what_the_tokenizer_makes_behind_the_prompt():
    """Behind "[/INST]" a space comes first, behind "assistant\\n" none: other tokens in a vocabulary of bytes."""
    spaced = answers_of(tokenizer(), chat_template("llava_mistral", tokenizer()), question_wordings())
    bare = answers_of(tokenizer(), chat_template("checkpoint", tokenizer(), CHATML), question_wordings())
    whole = [tokenizer().decode([*spaced.lead, token]) for token in (spaced.true, spaced.false)]
    assert all(text.startswith(" ") for text in whole)
    assert not bare.lead and tokenizer().decode([bare.true]).startswith("T")
    assert tokenizer().decode([bare.false]).startswith("F")


def test_a_vocabulary_that_can_not_tell_the_answers_apart_is_an_error():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "is": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    blind = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    with pytest.raises(InputError, match="no tokens that tell True from False"):
        answers_of(blind, chat_template("none", blind), ["is"])


def test_what_all_prompts_begin_with_is_split_off_once():
    found = shared([(1, "a", 2, 3), (1, "a", 2, 4, 5), (1, "a", 2)])
    assert found.prefix == (1, "a") and found.suffixes == ((2, 3), (2, 4, 5), (2,))
    assert shared([(1, 2)]).prefix == () and shared([(1, 2), (1, 2)]).suffixes == ((2,), (2,))
    assert shared([("a", 1), ("b", 1)]).prefix == ()
