"""A LLaVA-Next's answers beside transformers' own, one question at a time on the same small weights."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lit_mmembed.data.judging import Prompt
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.llava import LlavaReranker
from lit_mmembed.reranking.prompts import Questions
from lit_mmembed.reranking.scorer import probability
from tests.encoders.small import jpeg
from tests.encoders.small_mllm import copied, llava_folder
from tests.reranking.world import every_task, reranker, transformers_margin

WAYS = [
    ("bytes", False, "none"),
    ("bytes", True, "none"),
    ("pieces", False, "llava_mistral"),
    ("pieces", True, "llava_mistral"),
]


def scores(model, asked):
    return [probability(one) for one in model.margins([model.prepare(questions) for questions in asked])]


@pytest.mark.parametrize(("style", "any_resolution", "template"), WAYS)
def test_a_mixed_batch_of_every_task_scores_as_transformers_does_one_by_one(style, any_resolution, template):
    asked = every_task()
    made = scores(reranker(style, any_resolution, template), asked)
    for questions, ours in zip(asked, made, strict=True):
        theirs = [transformers_margin(prompt, style, any_resolution, template) for prompt in questions.prompts]
        np.testing.assert_allclose(ours, probability(np.array(theirs)), atol=1e-5, rtol=0)
    spread = np.concatenate(made)
    assert spread.max() - spread.min() > 0.2


def test_what_stands_before_the_document_is_read_once():
    model = reranker()
    for questions in every_task():
        prepared = model.prepare(questions)
        alone = [model.prepare(replace(questions, prompts=(p,), relevant=(False,))).tokens for p in questions.prompts]
        prefix = prepared.length(prepared.prompts.prefix)
        assert prepared.tokens == sum(alone) - (len(alone) - 1) * prefix
        number = int(questions.query_id.rpartition("_task")[2])
        if number in (3, 4, 6, 8):  # the query's picture comes first
            assert prefix > 16
        if number in (0, 7):  # the document's does
            assert prefix == 1


def test_small_batches_give_the_same_scores(monkeypatch):
    model = reranker()
    asked = every_task()
    expected = scores(model, asked)
    monkeypatch.setattr(model, "batch_tokens", 60)
    for ours, theirs in zip(scores(model, asked), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)


def test_an_image_is_embedded_once_for_all_queries(monkeypatch):
    model = LlavaReranker(llava_folder()).eval()
    passes = []
    vision = model.backbone.vision
    monkeypatch.setattr(model.backbone, "vision", lambda features: passes.append(1) or vision(features))
    prompts = tuple(Prompt(f"<image>\nCaption:{word}\nTrue or False", (jpeg(7),)) for word in ("fox", "cat"))
    first = model.margins([model.prepare(Questions("q1", prompts, (False, False)))])
    again = model.margins([model.prepare(Questions("q2", prompts, (False, False)))])
    assert len(passes) == 1
    np.testing.assert_array_equal(first[0], again[0])


def test_without_room_in_the_cache_the_scores_are_the_same_bits():
    plenty, none = (LlavaReranker(llava_folder(), cache_bytes=size).eval() for size in (2**20, 0))
    asked = every_task()
    for model in (plenty, none):
        scores(model, asked)
    for ours, theirs in zip(scores(plenty, asked), scores(none, asked), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert none.cache.held == 0 < plenty.cache.held


def test_what_is_kept_of_an_image_does_not_keep_the_pass_that_it_was_in(monkeypatch):
    model = LlavaReranker(llava_folder()).eval()
    monkeypatch.setattr(model.backbone, "vision", lambda features: torch.ones(len(features["pixels"]), 4, 8))
    monkeypatch.setattr(model, "head", model.head.to("meta"))  # any device but the CPU: passes of one shape
    images = [model.images(jpeg(number, (32, 32))) for number in range(3)]
    kept = model._vision(images)
    assert [len(one) for one in kept] == [1, 1, 1]
    assert [one.untyped_storage().nbytes() for one in kept] == [4 * 4 * 8] * 3


def test_margins_are_multiplied_in_fp32_under_autocast(monkeypatch):
    model = LlavaReranker(llava_folder()).eval()
    language, seen = model.backbone.language_model.forward, []

    def kept(**given):
        made = language(**given)
        seen.append(made.last_hidden_state[0][given["packing"].last])
        return made

    monkeypatch.setattr(model.backbone.language_model, "forward", kept)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        made = model.differences([model.prepare(every_task()[0])])
    expected = seen[0].double() @ (model.head[0] - model.head[1]).double()
    torch.testing.assert_close(made, expected.float(), atol=1e-6, rtol=1e-6)


@torch.enable_grad()
def test_gradients_are_those_of_the_questions_one_by_one():
    model = LlavaReranker(llava_folder()).eval()
    questions = every_task()[6]
    together = model.differences([model.prepare(questions)])
    weight = model.backbone.language_model.layers[0].self_attn.k_proj.weight
    (ours,) = torch.autograd.grad(together.square().sum(), weight)
    alone = [model.prepare(replace(questions, prompts=(prompt,), relevant=(False,))) for prompt in questions.prompts]
    (theirs,) = torch.autograd.grad(sum(model.differences([one]).square().sum() for one in alone), weight)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_prompt_beyond_the_context_and_a_text_with_the_placeholder_are_errors():
    model = LlavaReranker(llava_folder(), max_tokens=20).eval()
    with pytest.raises(InputError, match=r"longer than 20.*--document-tokens"):
        model.prepare(Questions("q", (Prompt("a long text " * 20, ()),), (False,)))
    with pytest.raises(InputError, match="spells <image>"):
        model.prepare(Questions("q", (Prompt("what is <image>?", ()),), (False,)))


def windowed(folder, window):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["sliding_window"] = window
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_prompts_beyond_a_sliding_window_are_errors(tmp_path):
    folder = windowed(copied(llava_folder(), tmp_path), 600)  # 17 vectors of a whole image, at most 88 with its tiles
    with pytest.raises(InputError, match=r"attends within 600 tokens, rows may have 688 .*image's resolution"):
        LlavaReranker(folder, any_resolution=True)
    LlavaReranker(folder, any_resolution=True, max_tokens=600)
    model = LlavaReranker(folder)
    model.prepare(every_task()[0])
    with pytest.raises(InputError, match=r"query q: attends within 600 tokens, rows may have \d+"):
        model.prepare(Questions("q", (Prompt("a long text " * 200, ()),), (False,)))


def test_no_image_has_more_tokens_than_are_foreseen():
    images = reranker("bytes", any_resolution=True).images
    sizes = [(64, 64), (63, 64), (32, 64), (300, 300), (32, 96), (500, 100), (100, 500)]
    assert max(images(jpeg(1, size)).tokens for size in sizes) == images.most_tokens
