"""Prompted, masked and cut rows beside counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm_preprocess import MllmPreprocess, ragged_places, select_rows
from lit_mmembed.encoders.prompts import EosPrompts, OneWordPrompts
from lit_mmembed.errors import InputError
from lit_mmembed.types import EncoderRow, Side
from tests.encoders.small import jpeg, mixed_rows
from tests.encoders.small_mllm import PATCH, SIZE, llava_folder

INSTRUCTION = "Find what is asked for"
RELEASED = EosPrompts(query="Instruct: {instruction}\nQuery: {image}\n{text}")
IMAGE = jpeg(1)
STYLES = ("bytes", "pieces")
VECTORS = (SIZE // PATCH) ** 2 + 1


@pytest.fixture(scope="module", params=STYLES)
def backbone(request):
    return LlavaNextBackbone(llava_folder(request.param))


@pytest.fixture(scope="module")
def bytes_backbone():
    return LlavaNextBackbone(llava_folder())


def preprocess(backbone, prompts=None, **arguments):
    return MllmPreprocess(backbone.tokenizer, backbone.images, prompts or EosPrompts(), **arguments)


def spelled(backbone, ids):
    """Return what ids spell, special tokens left out."""
    return backbone.tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=True)


def masked(backbone, row, mask, prompts=None):
    """Return the tokens that are left out of the pooling, and those that count."""
    features = preprocess(backbone, prompts, instruction_mask=mask)([row])
    counts, ids = features["counts"], features["tokens"].tolist()
    out = int((~counts).sum())
    assert not counts[:out].any() and counts[out:].all()
    return ids[:out], ids[out:]


@pytest.mark.parametrize("text", ["two cats", None])
def test_a_clean_mask_leaves_out_all_before_an_image(backbone, text):
    left_out, counted = masked(backbone, EncoderRow(text, IMAGE, Side.QUERY, INSTRUCTION), "clean")
    assert spelled(backbone, left_out).strip() == f"{INSTRUCTION}\nQuery:"
    assert counted[:VECTORS] == [backbone.images.token_id] * VECTORS
    assert spelled(backbone, counted).strip() == (text or "") and counted[-1] == backbone.tokenizer.eos_token_id


@pytest.mark.parametrize("text", ["two cats", "fox", "a red fox"])
def test_a_clean_mask_leaves_out_all_before_a_text_and_none_of_it(backbone, text):
    left_out, counted = masked(backbone, EncoderRow(text, None, Side.QUERY, INSTRUCTION), "clean")
    fixed = f"{INSTRUCTION}\nQuery: "
    assert fixed.startswith(spelled(backbone, left_out))
    assert len(spelled(backbone, [*left_out, counted[0]])) > len(fixed)
    assert counted[-1] == backbone.tokenizer.eos_token_id


@pytest.mark.parametrize("image", [None, IMAGE])
def test_nv_embeds_mask_leaves_out_as_many_tokens_as_the_prefix_has_without_its_start(backbone, image):
    row = EncoderRow("two cats", image, Side.QUERY, INSTRUCTION)
    left_out, _ = masked(backbone, row, "nv_embed", RELEASED)
    assert len(left_out) == len(backbone.tokenizer.tokenize(f"Instruct: {INSTRUCTION}\nQuery: "))
    assert left_out[0] == backbone.tokenizer.bos_token_id


@pytest.mark.parametrize("image", [None, IMAGE])
def test_mm_embeds_mask_leaves_out_the_start_the_instruction_and_one_more(backbone, image):
    row = EncoderRow("two cats", image, Side.QUERY, INSTRUCTION)
    left_out, _ = masked(backbone, row, "mm_embed", RELEASED)
    assert len(left_out) == len(backbone.tokenizer(f"Instruct: {INSTRUCTION}").input_ids) + 1
    assert left_out[0] == backbone.tokenizer.bos_token_id


@pytest.mark.parametrize("mask", ["clean", "nv_embed", "mm_embed"])
def test_documents_and_queries_without_instruction_count_whole(backbone, mask):
    for row in (EncoderRow("two cats", IMAGE, Side.CANDIDATE), EncoderRow("two cats", None, Side.QUERY)):
        assert masked(backbone, row, mask, RELEASED)[0] == []


def test_nothing_is_masked_when_no_mask_is_asked_for(backbone):
    assert masked(backbone, EncoderRow("two cats", IMAGE, Side.QUERY, INSTRUCTION), "none")[0] == []


@pytest.mark.parametrize("prompts", [EosPrompts(), OneWordPrompts()], ids=["eos", "one_word"])
@pytest.mark.parametrize("image", [None, IMAGE])
@pytest.mark.parametrize("limit", [20, 24, 30])
def test_only_the_rows_own_text_is_cut_at_its_end_and_what_is_cut_is_counted(backbone, prompts, image, limit):
    row = EncoderRow("a red fox and two cats " * 9, image, Side.QUERY, INSTRUCTION)
    whole = preprocess(backbone, prompts, query_length=10_000).tokenized(row)
    cut = preprocess(backbone, prompts, query_length=limit).tokenized(row)
    gone = len(whole.ids) - len(cut.ids)
    assert whole.cut == 0 and cut.cut == gone > 0
    start = next(i for i in range(len(cut.ids)) if cut.ids[i] != whole.ids[i])
    assert cut.ids == whole.ids[:start] + whole.ids[start + gone :]
    ending = "" if prompts.append_eos else f"\n{INSTRUCTION} in one word:"
    assert spelled(backbone, cut.ids).endswith(ending) and spelled(backbone, cut.ids).count(INSTRUCTION) == 1
    assert len(cut.ids) <= limit or "fox" not in spelled(backbone, cut.ids)
    assert not prompts.append_eos or cut.ids[-1] == backbone.tokenizer.eos_token_id
    features = preprocess(backbone, prompts, query_length=limit)([row, EncoderRow("a", None, Side.CANDIDATE)])
    assert features["cut"].tolist() == [gone, 0]
    assert int((features["tokens"] == backbone.images.token_id).sum()) == (VECTORS if image else 0)


def test_an_image_counts_as_one_token_of_the_limit_and_each_side_has_its_own(bytes_backbone):
    made = preprocess(bytes_backbone, query_length=12, candidate_length=15)
    for side, limit in ((Side.QUERY, 12), (Side.CANDIDATE, 15)):
        lengths = made([EncoderRow("fox " * 50, IMAGE, side), EncoderRow("fox " * 50, None, side)])["lengths"]
        assert lengths.tolist() == [limit - 1 + VECTORS, limit]


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("own", [12, 40])
def test_a_rows_own_limit_goes_before_the_sides(bytes_backbone, side, own):
    made = preprocess(bytes_backbone, query_length=20, candidate_length=20)
    rows = [EncoderRow("fox " * 50, None, side), EncoderRow("fox " * 50, None, side, length=own)]
    assert made(rows)["lengths"].tolist() == [20, own]


def test_an_instruction_longer_than_the_limit_stays(bytes_backbone):
    long = "Find what is asked for and nothing else"
    made = preprocess(bytes_backbone, query_length=5).tokenized(EncoderRow("a red fox", None, Side.QUERY, long))
    kept = spelled(bytes_backbone, made.ids)
    assert kept.startswith(f"{long}\nQuery:") and "red" not in kept and "fox" not in kept
    assert made.ids[-1] == bytes_backbone.tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (EncoderRow(None, None, Side.QUERY), "a query without text: has neither text nor image"),
        (EncoderRow("", None, Side.CANDIDATE), "a candidate without text: has neither text nor image"),
        (EncoderRow("an <image> of a fox", None, Side.QUERY), "the text spells <image>"),
        (EncoderRow("a fox", IMAGE, Side.QUERY, "Find <image>"), "the text spells <image>"),
        (EncoderRow("a fox", b"no image", Side.QUERY), "'a fox': the image can't be read"),
    ],
)
def test_a_row_that_makes_no_prompt_is_named_in_one_line(bytes_backbone, row, problem):
    with pytest.raises(InputError, match=problem) as error:
        preprocess(bytes_backbone)([EncoderRow("a good one", None, Side.QUERY), row])
    assert "\n" not in str(error.value) and "(fix: " in str(error.value)


def test_an_image_without_a_place_in_the_prompt_is_an_error(bytes_backbone):
    with pytest.raises(InputError, match="has no place for an image"):
        preprocess(bytes_backbone, EosPrompts(candidate="{text}"))([EncoderRow("a fox", IMAGE, Side.CANDIDATE)])


def test_estimated_lengths_are_bounded_by_the_limit_and_count_an_images_vectors(bytes_backbone):
    made = preprocess(bytes_backbone, query_length=16, candidate_length=64)
    characters, images = np.array([0, 40, 4000, 4000]), np.array([False, False, False, True])
    assert made.lengths(characters, images, Side.QUERY).tolist() == [2, 12, 16, 16 + VECTORS]
    assert made.lengths(characters, images, Side.CANDIDATE).tolist() == [2, 12, 64, 64 + VECTORS]


LLAVA = LlavaNextBackbone(llava_folder())


@given(st.permutations(range(7)), st.integers(1, 7))
def test_selected_features_are_those_of_the_selected_rows(order, count):
    made = preprocess(LLAVA)
    rows = mixed_rows(7)
    chosen = select_rows(made(rows), torch.tensor(order[:count]))
    expected = made([rows[row] for row in order[:count]])
    assert chosen.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(chosen[name], tensor), name


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.data())
def test_ragged_places_are_those_of_a_loop(lengths, data):
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=8))
    starts = [sum(lengths[:row]) for row in range(len(lengths))]
    expected = [starts[row] + place for row in rows for place in range(lengths[row])]
    assert ragged_places(torch.tensor(lengths), torch.tensor(rows, dtype=torch.int64)).tolist() == expected
