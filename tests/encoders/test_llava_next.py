"""LLaVA-Next beside transformers' own, on the same small weights: pixels, ids, hidden states."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest
import torch

from lit_mmembed.encoders.images import normalised
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.pooling import LastTokenPooling
from lit_mmembed.encoders.prompts import OneWordPrompts
from lit_mmembed.types import EncoderRow, Side
from tests.encoders.small import jpeg
from tests.encoders.small_mllm import PATCH, PINPOINTS, SIZE, llava_folder

SHAPES = [(32, 32), (64, 40), (40, 64), (100, 30), (30, 100), (33, 31), (200, 50), (17, 90), (400, 4), (4, 400), (1, 1)]
STYLES = ("bytes", "pieces")


@cache
def reference(style="bytes"):
    from transformers import LlavaNextForConditionalGeneration

    folder = llava_folder(style)
    return LlavaNextForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()


@cache
def processor(style="bytes"):
    from transformers import AutoTokenizer, LlavaNextProcessor
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    return LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil.from_pretrained(llava_folder(style)),
        tokenizer=AutoTokenizer.from_pretrained(llava_folder(style)),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def encoder(style="bytes", any_resolution=False, **arguments):
    backbone = LlavaNextBackbone(llava_folder(style), any_resolution=any_resolution)
    return MllmEncoder(backbone, **arguments).eval()


def picture(size):
    from PIL import Image

    return Image.open(io.BytesIO(jpeg(3, size))).convert("RGB")


@torch.no_grad()
def hidden_states(encoder, features):
    seen = []
    hook = encoder.pooling.register_forward_hook(lambda module, given, made: seen.append(given[0]))
    encoder(features)
    hook.remove()
    return seen[0]


def prompt_of(row, image="<image>"):
    """Table 11, written out."""
    content = "\n".join(part for part in (image if row.image else None, row.text) if part)
    if row.side is Side.CANDIDATE:
        return f"{content}</s>"
    return f"{row.instruction}\nQuery: {content}</s>" if row.instruction else f"Query: {content}</s>"


def rows_with(image):
    return [
        EncoderRow("two cats", image, Side.QUERY, "Find what is asked for"),
        EncoderRow(None, image, Side.QUERY, "Find it"),
        EncoderRow("a red fox", image, Side.QUERY),
        EncoderRow("a red fox on a mat", image, Side.CANDIDATE),
        EncoderRow(None, image, Side.CANDIDATE),
    ]


@pytest.mark.parametrize("size", SHAPES)
def test_tiles_and_their_number_are_those_of_the_processor(size):
    ours = encoder(any_resolution=True)
    features = ours.preprocess([EncoderRow("a fox", jpeg(3, size), Side.QUERY)])
    theirs = processor()(text="Query: <image>\na fox</s>", images=picture(size), return_tensors="pt")
    pixels = normalised(features["pixels"], ours.backbone.pixel_mean, ours.backbone.pixel_std)
    torch.testing.assert_close(pixels, theirs["pixel_values"][0].float(), atol=2e-6, rtol=0)
    assert features["tokens"].tolist() == theirs["input_ids"][0].tolist()
    assert features["image_tokens"].tolist() == [int((theirs["input_ids"] == ours.backbone.images.token_id).sum())]


@pytest.mark.parametrize("size", SHAPES)
def test_the_whole_picture_is_the_first_tile_of_the_processor(size):
    ours = encoder()
    features = ours.preprocess([EncoderRow(None, jpeg(3, size), Side.CANDIDATE)])
    theirs = processor().image_processor([picture(size)], return_tensors="pt")["pixel_values"][0, :1]
    pixels = normalised(features["pixels"], ours.backbone.pixel_mean, ours.backbone.pixel_std)
    torch.testing.assert_close(pixels, theirs.float(), atol=2e-6, rtol=0)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [s for s in SHAPES if min(s) > 8])
@torch.no_grad()
def test_any_resolution_gives_the_hidden_states_of_transformers(style, size):
    ours = encoder(style, any_resolution=True)
    for row in rows_with(jpeg(3, size)):
        given = processor(style)(text=prompt_of(row), images=picture(size), return_tensors="pt")
        theirs = reference(style)(**given, output_hidden_states=True).hidden_states[-1][0]
        features = ours.preprocess([row])
        assert features["tokens"].tolist() == given["input_ids"][0].tolist()
        torch.testing.assert_close(hidden_states(ours, features), theirs, atol=1e-5, rtol=1e-5)
        vector = torch.nn.functional.normalize(theirs[-1], dim=-1)
        torch.testing.assert_close(ours(features)[0], vector, atol=1e-5, rtol=0)


@pytest.mark.parametrize("style", STYLES)
@torch.no_grad()
def test_the_whole_picture_alone_gives_a_forward_pass_with_the_first_tile(style):
    ours, model = encoder(style), reference(style).model
    for row in rows_with(jpeg(3, (50, 90))):
        tile = processor(style).image_processor([picture((50, 90))], return_tensors="pt")["pixel_values"][0, :1]
        patches = model.vision_tower(tile, output_hidden_states=True).hidden_states[-2][:, 1:]
        image = torch.cat([model.multi_modal_projector(patches)[0], model.image_newline[None]])
        before, after = prompt_of(row).split("<image>")
        tokenizer = processor(style).tokenizer
        whole = tokenizer(before + "<image>" + after).input_ids
        place = whole.index(tokenizer.convert_tokens_to_ids("<image>"))
        embed = model.language_model.embed_tokens
        pieces = [embed(torch.tensor(whole[:place])), image, embed(torch.tensor(whole[place + 1 :]))]
        theirs = model.language_model(inputs_embeds=torch.cat(pieces)[None]).last_hidden_state[0]
        features = ours.preprocess([row])
        assert features["image_tokens"].tolist() == [(SIZE // PATCH) ** 2 + 1]
        torch.testing.assert_close(hidden_states(ours, features), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("style", STYLES)
@torch.no_grad()
def test_texts_give_the_hidden_states_of_transformers(style):
    ours = encoder(style)
    for row in (row for row in rows_with(None) if row.text):
        given = processor(style).tokenizer(prompt_of(row), return_tensors="pt")
        theirs = reference(style)(**given, output_hidden_states=True).hidden_states[-1][0]
        features = ours.preprocess([row])
        assert features["tokens"].tolist() == given["input_ids"][0].tolist()
        torch.testing.assert_close(hidden_states(ours, features), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("style", STYLES)
def test_one_word_prompts_have_the_ids_that_the_processor_makes_of_the_whole_string(style):
    ours = encoder(style, pooling=LastTokenPooling(), prompts=OneWordPrompts())
    image = jpeg(3, (50, 50))
    for row, string in [
        (EncoderRow("two cats", image, Side.CANDIDATE), "<image>\ntwo cats\nDescribe the above in one word:"),
        (EncoderRow(None, image, Side.CANDIDATE), "<image>\nDescribe the above in one word:"),
        (EncoderRow("two cats", None, Side.CANDIDATE), "two cats\nDescribe the above in one word:"),
        (EncoderRow("two cats", image, Side.QUERY, "Name it"), "<image>\ntwo cats\nName it in one word:"),
    ]:
        ids = ours.preprocess.tokenized(row).ids
        assert ids == processor(style).tokenizer(string).input_ids


def test_images_of_a_batch_stay_with_their_rows_when_their_numbers_of_tiles_differ():
    ours = encoder(any_resolution=True)
    rows = [EncoderRow(f"text {i}", jpeg(i, size), Side.QUERY) for i, size in enumerate(SHAPES[:8])]
    rows.insert(3, EncoderRow("no image", None, Side.QUERY))
    features = ours.preprocess(rows)
    assert len(set(features["image_parts"].tolist())) > 1
    with torch.no_grad():
        together = ours(features)
        alone = torch.cat([ours(ours.preprocess([row])) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_pixels_travel_as_bytes():
    features = encoder(any_resolution=True).preprocess(rows_with(jpeg(1, (64, 64))))
    assert features["pixels"].dtype == torch.uint8
    assert np.prod(features["pixels"].shape[1:]) == 3 * SIZE * SIZE
    assert int(features["image_parts"][0]) == 1 + np.prod([side // SIZE for side in PINPOINTS[2]])
