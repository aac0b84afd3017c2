"""What questions cost: the tokens of Table 13's prompts, the shared start once, FLOPs by hand."""

from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from lit_mmembed.data.tasks import MBEIR_TASKS, task_by_name
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.prompts import chat_template, reranking_question
from lit_mmembed.reranking.tokens import PromptTokens, shared
from lit_mmembed.training.plan_reranking import (
    Question,
    answerer,
    asking_flops,
    learning_flops,
    question,
    trained_weights,
)
from lit_mmembed.training.splits import Asked, mbeir_split
from lit_mmembed.types import Modality, Sample, Task
from tests.tiny import ROOT

SMALL = str(ROOT / "data_shards/emoji_initial/llava")
LARGE = "llava-hf/llava-v1.6-mistral-7b-hf"
WIDTH, LAYERS, INNER, SHARED = 4096, 32, 14336, 1024
LAYER = 2 * WIDTH * WIDTH + 2 * WIDTH * SHARED + 3 * WIDTH * INNER
"""Weights of the matrices of one layer of Mistral 7B."""
TEXTS = ("A red fox under an old tree.", "Where does the tall clock tower stand today?")


def asked(name: str, query: int = 40, document: int = 40) -> Asked:
    return Asked(task_by_name(name), 1, query, document, 100)


def has(modality: Modality, text: str, number: int) -> Sample:
    image = None if modality is Modality.TEXT else b"picture %d" % number
    return Sample(f"1:{number}", None if modality is Modality.IMAGE else text, image, modality)


@pytest.mark.parametrize("task", MBEIR_TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("template", ["none", "llava_mistral"])
def test_a_question_has_the_tokens_of_the_real_prompt(task: Task, template: str):
    """Within a tenth and six tokens: a plan takes four characters for one, a tokenizer what it has learnt."""
    tokenizer = AutoTokenizer.from_pretrained(SMALL)
    model = answerer(SMALL, any_resolution=False, dtype="float32")
    units = PromptTokens(tokenizer, tokenizer.convert_tokens_to_ids("<image>"), chat_template(template, tokenizer))
    query = has(task.query_modality, TEXTS[0], 0)
    documents = [has(task.candidate_modality, f"{word} {TEXTS[1]}", n + 1) for n, word in enumerate("ABC")]
    prompts = [reranking_question(task, query, document).prompt for document in documents]
    real = shared([units(prompt, record="one") for prompt in prompts])

    def length(stretch):
        return sum(model.image_tokens if isinstance(unit, str) else 1 for unit in stretch)

    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (TEXTS[0], f"A {TEXTS[1]}")]
    planned = question(Asked(task, 1, *lengths, 100), model, template)
    assert planned.prefix == pytest.approx(length(real.prefix), rel=0.1, abs=6)
    assert planned.suffix == pytest.approx(length(real.suffixes[0]), rel=0.1, abs=6)
    images = [sum(isinstance(unit, str) for unit in stretch) for stretch in (real.prefix, real.suffixes[0])]
    assert [planned.prefix_images, planned.suffix_images] == images


@pytest.mark.parametrize(("any_resolution", "tokens"), [(False, 577), (True, 2880)])
def test_an_image_has_577_tokens_or_2880_with_its_tiles(any_resolution, tokens):
    model = answerer(LARGE, any_resolution=any_resolution, dtype="bfloat16")
    with_image, without = question(asked("mscoco_task3"), model), question(asked("webqa_task1"), model)
    assert with_image.prefix_images == 1 and without.prefix_images == 0
    assert with_image.prefix - tokens < 10 and without.prefix < 60


def test_documents_texts_are_cut_to_what_is_asked_for():
    model = answerer(LARGE, any_resolution=False, dtype="bfloat16")
    long, cut = (question(asked("webqa_task1", document=500), model, "none", limit) for limit in (None, 60))
    assert long.suffix - cut.suffix == 440 and long.prefix == cut.prefix


def test_the_flops_of_questions_by_hand():
    """2 W (P + k S), and attention of a suffix over the prefix and itself; one picture through 23 of 24 layers."""
    model = answerer(LARGE, any_resolution=False, dtype="bfloat16")
    one, k = Question(600, 50, 1, 0), 10
    linear = 2 * LAYER * LAYERS * (600 + 10 * 50)
    attention = 2 * WIDTH * LAYERS * (600**2 + 10 * (650**2 - 600**2))
    layer = 4 * 1024 * 1024 + 2 * 1024 * 4096
    vision = 577 * (2 * layer * 23 + 2 * 3 * 14 * 14 * 1024) + 23 * 4 * 577**2 * 1024
    projector = 2 * 577 * (1024 * 4096 + 4096 * 4096)
    found = asking_flops(asked("mscoco_task3"), one, model, k=k, budget=16384)
    assert found == pytest.approx(linear + attention + vision + projector, rel=0.002)


def test_a_query_whose_questions_do_not_fit_into_a_pass_has_its_prefix_in_each():
    model = answerer(LARGE, any_resolution=False, dtype="bfloat16")
    one = Question(600, 500, 0, 0)
    whole, parts = (asking_flops(asked("webqa_task1"), one, model, k=10, budget=budget) for budget in (5600, 1600))
    again = 4 * (2 * LAYER * LAYERS * 600 + 2 * WIDTH * LAYERS * 600**2)  # five passes of two questions
    assert parts - whole == pytest.approx(again)


def test_a_list_in_training_is_forward_and_once_back_through_frozen_weights():
    model = answerer(LARGE, any_resolution=False, dtype="bfloat16")
    one = Question(0, 100, 0, 0)
    lora = {"r": 8}
    weights = trained_weights(model, lora=lora, projector=False)
    assert weights == LAYERS * 8 * (2 * (WIDTH + WIDTH) + 2 * (WIDTH + SHARED) + 3 * (WIDTH + INNER))
    linear, attention = 2 * LAYER * LAYERS * 800, 8 * 2 * 100**2 * WIDTH * LAYERS
    found = learning_flops(one, model, questions=8, lora=lora)
    assert found == pytest.approx(2 * linear + 3 * attention + 3 * 2 * weights * 800)
    assert learning_flops(one, model, questions=8, lora=None) == pytest.approx(3 * (linear + attention))


def test_the_questions_about_m_beir_are_ten_a_query_and_34b_costs_five_times_7b():
    split, costs = mbeir_split("test"), []
    for name in (LARGE, "llava-hf/llava-v1.6-34b-hf"):
        model = answerer(name, any_resolution=False, dtype="bfloat16")
        costs.append(sum(asking_flops(one, question(one, model), model, k=10, budget=16384) for one in split.asked))
    assert costs[1] / costs[0] == pytest.approx(34.4 / 7.2, rel=0.1)


def test_the_size_of_a_checkpoint_is_that_of_its_weights_with_the_head():
    assert answerer(LARGE, any_resolution=False, dtype="bfloat16").size == pytest.approx(2 * 7_566_747_648, rel=1e-4)


def test_a_task_without_a_question_is_named():
    text = Asked(Task("NQ", 100, 1, 9, Modality.TEXT, Modality.TEXT), 1, 10, 100, 10)
    with pytest.raises(InputError, match="no True-or-False prompt"):
        question(text, answerer(LARGE, any_resolution=False, dtype="bfloat16"))
