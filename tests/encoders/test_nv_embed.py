"""NV-Embed and MM-Embed beside transformers' Mistral with a full mask and a pooling in loops."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch
from torch.nn.functional import normalize

from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.nv_embed import NvEmbedBackbone, NvEmbedLlavaBackbone
from lit_mmembed.encoders.pooling import LatentAttentionPooling
from lit_mmembed.encoders.prompts import EosPrompts
from lit_mmembed.encoders.released import released_mm_embed, released_nv_embed
from lit_mmembed.errors import InputError
from lit_mmembed.types import EncoderRow, Side
from tests.encoders.small import jpeg
from tests.encoders.small_mllm import (
    POOLING,
    copied,
    llava_folder,
    mm_embed_folder,
    nv_embed_folder,
    tensors_of,
    write_tensors,
)
from tests.encoders.test_llava_next import hidden_states, picture, processor
from tests.encoders.test_pooling import nv_embed_tokens, nv_embed_weights

STYLES = ("bytes", "pieces")
INSTRUCTION = "Find what is asked for"
IMAGE = jpeg(3, (50, 90))
ROWS = [
    EncoderRow("two cats on a mat", None, Side.QUERY, INSTRUCTION),
    EncoderRow("two cats", IMAGE, Side.QUERY, INSTRUCTION),
    EncoderRow(None, IMAGE, Side.QUERY, INSTRUCTION),
    EncoderRow("a red fox", IMAGE, Side.QUERY),
    EncoderRow("a red fox", None, Side.QUERY),
    EncoderRow("flags of the world", IMAGE, Side.CANDIDATE),
    EncoderRow(None, IMAGE, Side.CANDIDATE),
    EncoderRow("flags of the world", None, Side.CANDIDATE),
]


@cache
def mistral(folder, prefix, theta=1e4):
    """transformers' Mistral in the shape of NV-Embed's body."""
    from transformers import MistralConfig, MistralModel

    text = json.loads((nv_embed_folder(folder.name.rpartition("_")[2]) / "config.json").read_text())["text_config"]
    text = {key: value for key, value in text.items() if key not in ("model_type", "rope_theta")}
    rope = {"rope_type": "default", "rope_theta": theta}
    model = MistralModel(MistralConfig(**text, rope_parameters=rope, attn_implementation="eager")).eval()
    weights = {n.removeprefix(prefix): w for n, w in tensors_of(folder).items() if n.startswith(prefix)}
    model.load_state_dict(weights)
    return model


@torch.no_grad()
def bidirectional(model, embedded):
    """The last hidden states where every token sees every token: a mask of zeros is added to the scores."""
    full = torch.zeros(1, 1, len(embedded), len(embedded))
    return model(inputs_embeds=embedded[None], attention_mask=full).last_hidden_state[0]


def vector(hidden, masked, weights):
    tokens = nv_embed_tokens(hidden, weights)
    return normalize(tokens[masked:].sum(0) / (len(tokens) - masked), dim=-1)


def mm_embed_prompt(row):
    """The released `encode`: "Instruct: ...\\nQuery: <image>\\ntext"; a part that is not there goes with its break."""
    content = "\n".join(part for part in ("<image>" if row.image else None, row.text) if part)
    if row.side is Side.CANDIDATE:
        return content
    return f"Instruct: {row.instruction}\nQuery: {content}" if row.instruction else f"Query: {content}"


def mm_embed_masked(prompt, tokenizer):
    """The released `calculate_instruction_length`: the tokenizer there closes every text with "</s>"."""
    if "\nQuery: " not in prompt:
        return 0
    return len([*tokenizer(prompt.split("\nQuery: ")[0]).input_ids, tokenizer.eos_token_id])


@torch.no_grad()
def naive_mm_embed(row, style, theta=1e4):
    """MM-Embed of a row, with parts of transformers and none of ours."""
    weights, tokenizer = tensors_of(mm_embed_folder(style)), processor(style).tokenizer
    prompt = mm_embed_prompt(row)
    ids = [*tokenizer(prompt).input_ids, tokenizer.eos_token_id]
    image_id = tokenizer.convert_tokens_to_ids("<image>")
    table = weights["language_model.embed_tokens.weight"]
    embedded = []
    for token in ids:
        embedded.append(image_vectors(style) if token == image_id else table[token][None])
    hidden = bidirectional(mistral(mm_embed_folder(style), "language_model.", theta), torch.cat(embedded))
    masked = mm_embed_masked(prompt, tokenizer)
    return vector(hidden, masked, nv_embed_weights(mm_embed_folder(style)))


def image_vectors(style):
    from transformers import LlavaNextForConditionalGeneration

    model = LlavaNextForConditionalGeneration.from_pretrained(llava_folder(style)).eval().model
    tile = processor(style).image_processor([picture((50, 90))], return_tensors="pt")["pixel_values"][0, :1]
    patches = model.vision_tower(tile, output_hidden_states=True).hidden_states[-2][:, 1:]
    return torch.cat([model.multi_modal_projector(patches)[0], model.image_newline[None]])


@pytest.mark.parametrize("style", STYLES)
@torch.no_grad()
def test_the_body_gives_the_hidden_states_of_mistral_with_a_full_mask(style):
    folder = nv_embed_folder(style)
    ours = MllmEncoder(NvEmbedBackbone(folder), attention="bidirectional").eval()
    model = mistral(folder, "embedding_model.")
    for row in ROWS[:1] + ROWS[4:5] + ROWS[7:]:
        features = ours.preprocess([row])
        theirs = bidirectional(model, model.embed_tokens(features["tokens"].long()))
        torch.testing.assert_close(hidden_states(ours, features), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("style", STYLES)
@torch.no_grad()
def test_nv_embeds_vectors_are_those_of_its_published_steps(style):
    from transformers import AutoTokenizer

    folder = nv_embed_folder(style)
    ours, tokenizer = released_nv_embed(folder), AutoTokenizer.from_pretrained(folder)
    rows = [row for row in ROWS if row.image is None]
    for row, made in zip(rows, ours(ours.preprocess(rows)), strict=True):
        instruction = f"Instruct: {row.instruction}\nQuery: " if row.instruction else ""
        ids = [*tokenizer(instruction + row.text).input_ids, tokenizer.eos_token_id]
        model = mistral(folder, "embedding_model.")
        hidden = bidirectional(model, model.embed_tokens(torch.tensor(ids)))
        expected = vector(hidden, len(tokenizer.tokenize(instruction)), nv_embed_weights(folder))
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("style", STYLES)
def test_mm_embeds_vectors_are_those_of_its_published_steps(style):
    with released_mm_embed(mm_embed_folder(style), nv_embed_folder(style)) as ours, torch.no_grad():
        made = ours(ours.preprocess(ROWS))
    expected = torch.stack([naive_mm_embed(row, style) for row in ROWS])
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=0)


def test_the_rotary_base_in_mm_embeds_own_configuration_would_give_other_vectors():
    own = json.loads((mm_embed_folder() / "config.json").read_text())["text_config"]
    assert own["rope_parameters"]["rope_theta"] == 1e6
    right, wrong = (naive_mm_embed(ROWS[0], "bytes", theta) for theta in (1e4, 1e6))
    assert (right - wrong).abs().max() > 1e-3


@torch.no_grad()
def test_the_body_in_llava_nexts_place_is_nv_embeds_with_llava_nexts_images():
    ours = MllmEncoder(NvEmbedLlavaBackbone(llava_folder(), nv_embed_folder()), attention="bidirectional").eval()
    body = mistral(nv_embed_folder(), "embedding_model.")
    tokenizer = processor().tokenizer
    start, *after = tokenizer("\nflags of the world</s>").input_ids
    embedded = [body.embed_tokens(torch.tensor(ids)) for ids in ([start], after)]
    embedded.insert(1, image_vectors("bytes"))
    theirs = bidirectional(body, torch.cat(embedded))
    features = ours.preprocess([ROWS[5]])
    torch.testing.assert_close(hidden_states(ours, features), theirs, atol=1e-5, rtol=1e-5)


def test_a_token_that_nv_embed_has_not_is_read_as_the_end_of_a_sequence():
    ours = MllmEncoder(NvEmbedLlavaBackbone(llava_folder(), nv_embed_folder()), attention="bidirectional").eval()
    features = ours.preprocess([EncoderRow("two<pad>cats", IMAGE, Side.QUERY)])
    pad = ours.backbone.tokenizer.convert_tokens_to_ids("<pad>")
    assert pad >= ours.backbone.config.text_config.vocab_size and pad in features["tokens"].tolist()
    same = {**features, "tokens": features["tokens"].masked_fill(features["tokens"] == pad, 2)}
    with torch.no_grad():
        assert torch.equal(ours(features), ours(same))


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_half_precision_needs_no_autocast(dtype, tolerance):
    def build(dtype):
        return MllmEncoder(
            NvEmbedLlavaBackbone(llava_folder(), nv_embed_folder(), dtype=dtype),
            pooling=LatentAttentionPooling(**POOLING, checkpoint=nv_embed_folder()),
            attention="bidirectional",
        ).eval()

    with torch.no_grad():
        half, single = (build(name)(build(name).preprocess(ROWS)) for name in (dtype, "float32"))
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, single, atol=tolerance, rtol=0)


def test_a_window_in_the_configuration_is_not_nv_embeds(tmp_path):
    folder = copied(nv_embed_folder(), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["sliding_window"] = 4
    (folder / "config.json").write_text(json.dumps(config))
    row = [EncoderRow("flags of the world " * 3, None, Side.QUERY)]
    ours, plain = (
        MllmEncoder(NvEmbedBackbone(path), attention="bidirectional") for path in (folder, nv_embed_folder())
    )
    with torch.no_grad():
        assert torch.equal(ours(ours.preprocess(row)), plain(plain.preprocess(row)))


def test_a_checkpoint_without_a_body_or_of_another_architecture_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"'llava_next'|no weights embedding_model"):
        NvEmbedBackbone(llava_folder())
    folder = copied(nv_embed_folder(), tmp_path)
    write_tensors(folder, {n: w for n, w in tensors_of(folder).items() if n.startswith("latent")})
    with pytest.raises(InputError, match=r"has no weights embedding_model\.\*"):
        NvEmbedBackbone(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "text_config": {"model_type": "gemma"}}))
    with pytest.raises(InputError, match="of the architecture 'gemma'"):
        NvEmbedBackbone(folder)


def test_tokenizers_that_number_tokens_otherwise_are_an_error(tmp_path):
    with pytest.raises(InputError, match=r"numbers .* tokens otherwise than LLaVA-Next's tokenizer"):
        NvEmbedLlavaBackbone(llava_folder("bytes"), nv_embed_folder("pieces"))


def test_an_image_is_refused_by_a_model_that_only_reads_texts():
    ours = MllmEncoder(NvEmbedBackbone(nv_embed_folder()))
    with pytest.raises(InputError, match="a candidate without text: has an image, and this model only reads text"):
        ours.preprocess([EncoderRow(None, IMAGE, Side.CANDIDATE)])


def test_prompts_without_an_end_cannot_be_pooled_at_it():
    from lit_mmembed.encoders.prompts import OneWordPrompts

    with pytest.raises(InputError, match="needs an end-of-sequence token"):
        MllmEncoder(NvEmbedBackbone(nv_embed_folder()), prompts=OneWordPrompts())
    assert MllmEncoder(NvEmbedBackbone(nv_embed_folder()), prompts=EosPrompts()).pooling.needs_eos
