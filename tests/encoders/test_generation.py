from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lit_mmembed.data.generation import Example
from lit_mmembed.data.judging import Prompt
from lit_mmembed.encoders.generation import IGNORED, Generator
from lit_mmembed.errors import InputError
from tests.encoders.initial_folders import checkpoint
from tests.encoders.small import jpeg

EXAMPLES = [
    Example("caption", Prompt("<image>\nDescribe the image.", (jpeg(1),)), "a red fox"),
    Example("text", Prompt("", ()), "two cats on a mat"),
    Example("judgement", Prompt("<image>\n<image>\nThe same? True or False", (jpeg(2), jpeg(3))), "False", 4),
    Example("judgement", Prompt("a clock at noon. True or False", ()), "True", 4),
]
PATCHES = 4


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    return Generator(checkpoint("llava_next", tmp_path_factory.mktemp("generator"), seed=3)).eval()


def test_labels_are_the_answer_and_the_end_and_nothing_of_the_prompt_or_the_padding(generator):
    features = generator.preprocess(EXAMPLES)
    tokenizer = generator.preprocess.tokenizer
    for row, example in enumerate(EXAMPLES):
        labels, tokens = features["labels"][row], features["tokens"][row]
        answer = [*tokenizer(example.answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        prompt = tokenizer(example.prompt.text)["input_ids"]
        start = len(prompt) + len(example.prompt.images) * PATCHES
        expected = [IGNORED] * start + answer + [IGNORED] * (len(labels) - start - len(answer))
        assert labels.tolist() == expected
        assert torch.equal(labels[labels != IGNORED], tokens[labels != IGNORED])
        assert set(tokens[start + len(answer) :].tolist()) <= {tokenizer.pad_token_id}


def test_an_image_has_a_placeholder_for_each_patch_and_the_newline(generator):
    features = generator.preprocess(EXAMPLES)
    count = (features["tokens"] == generator.model.config.image_token_id).sum(dim=1)
    assert count.tolist() == [PATCHES + 1, 0, 2 * (PATCHES + 1), 0]
    assert features["pixels"].shape == (3, 3, 16, 16)


@torch.no_grad()
def test_the_logits_are_those_of_transformers_for_each_example_alone(generator):
    logits, targets, example = generator(generator.preprocess(EXAMPLES))
    for row, one in enumerate(EXAMPLES):
        features = generator.preprocess([one])
        embedded = generator.model.get_input_embeddings()(features["tokens"])
        if "pixels" in features:
            place = features["tokens"] == generator.model.config.image_token_id
            embedded[place] = generator.image_tokens(features["pixels"])
        whole = generator.model(inputs_embeds=embedded, attention_mask=torch.ones_like(features["tokens"])).logits[0]
        wanted = features["labels"][0] != IGNORED
        expected = whole[:-1][wanted[1:]]
        torch.testing.assert_close(logits[example == row], expected, atol=1e-5, rtol=1e-4)
        assert torch.equal(targets[example == row], features["labels"][0][wanted])


@torch.no_grad()
def test_image_tokens_are_those_that_transformers_packs_of_one_tile(generator):
    body = generator.model.model
    pixels = generator.preprocess(EXAMPLES[:1])["pixels"]
    values = (pixels.float() / 255 - generator.pixel_mean.view(3, 1, 1)) / generator.pixel_std.view(3, 1, 1)
    states = body.vision_tower(values, output_hidden_states=True).hidden_states[-2][:, 1:]
    features = body.multi_modal_projector(states)
    packed, _ = body.pack_image_features([features], torch.tensor([[16, 16]]), "default", body.image_newline)
    torch.testing.assert_close(generator.image_tokens(pixels), packed[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_judgement_is_read_off_the_token_that_training_learns(generator):
    judgements = EXAMPLES[2:]
    logits, targets, example = generator(generator.preprocess(judgements))
    first = [int(torch.nonzero(example == row)[0]) for row in range(len(judgements))]
    true, false = generator.preprocess.answer_ids
    assert targets[first].tolist() == [false, true]
    assert F.cross_entropy(logits, targets).isfinite()


def test_an_answer_that_does_not_fit_is_cut_and_a_prompt_that_does_not_is_an_error(tmp_path):
    long = Example("text", Prompt("", ()), "a red fox " * 30)
    short = Generator(checkpoint("llava_next", tmp_path), max_tokens=12)
    assert short.preprocess([long])["tokens"].shape == (1, 12)
    with pytest.raises(InputError, match="leaves no room for an answer within 12"):
        short.preprocess([Example("answer", Prompt(long.answer, ()), "yes")])


def test_a_text_that_spells_the_placeholder_is_an_error(generator):
    with pytest.raises(InputError, match="spells <image>"):
        generator.preprocess([Example("answer", Prompt("what is <image>?", ()), "yes")])


def test_what_is_saved_loads_again_with_its_tokenizer_and_processor(generator, tmp_path):
    generator.save(tmp_path)
    again = Generator(tmp_path).eval()
    for (name, own), (other, loaded) in zip(generator.named_parameters(), again.named_parameters(), strict=True):
        assert name == other and torch.equal(own, loaded)
    features = again.preprocess(EXAMPLES)
    for name, tensor in generator.preprocess(EXAMPLES).items():
        assert torch.equal(features[name], tensor), name
