"""What every encoder obeys. A new backbone is one more line in ENCODERS."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from lit_mmembed.encoders.pretrained import load_encoder, save_encoder, weights_hash
from lit_mmembed.types import EncoderRow, Side
from tests.encoders import small_mllm
from tests.encoders.small import hf_small, jpeg, openai_like, own_small, own_small_with_stem
from tests.encoders.small import mixed_rows as rows_of_all_kinds
from tests.encoders.small_qwen2_vl import qwen2_vl

ENCODERS = [own_small, own_small_with_stem, openai_like, hf_small, *small_mllm.ENCODERS, qwen2_vl]


@pytest.fixture(scope="module", params=ENCODERS, ids=lambda build: build.__name__)
def encoder(request, tmp_path_factory):
    torch.manual_seed(0)
    return request.param(tmp_path_factory.mktemp("encoder")).eval()


def reads_images(encoder):
    return getattr(encoder.preprocess, "images", True) is not None


def needs_images(encoder):
    if not reads_images(encoder):
        pytest.skip("this encoder only reads texts")


def mixed_rows(encoder, n):
    """Text, image and both in turn; of an encoder that only reads texts, texts."""
    rows = rows_of_all_kinds(n)
    if reads_images(encoder):
        return rows
    return [EncoderRow(row.text or f"text {i}", None, row.side, row.instruction) for i, row in enumerate(rows)]


@torch.no_grad()
def encode(encoder, rows):
    return encoder(encoder.preprocess(rows))


def test_each_row_gets_one_vector_of_length_one(encoder):
    vectors = encode(encoder, mixed_rows(encoder, 7))
    assert vectors.shape == (7, encoder.dimension)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(7))


def test_a_row_alone_has_the_vector_that_it_has_in_a_batch(encoder):
    rows = [*mixed_rows(encoder, 7), EncoderRow("a much longer text " * 9, None, Side.CANDIDATE)]
    together = encode(encoder, rows)
    alone = torch.cat([encode(encoder, [row]) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_the_order_of_rows_is_kept(encoder):
    rows = mixed_rows(encoder, 6)
    torch.testing.assert_close(encode(encoder, rows[::-1]), encode(encoder, rows).flip(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["text", "image", "both"])
def test_a_batch_of_one_modality_works(encoder, kind):
    if kind != "text":
        needs_images(encoder)
    text = None if kind == "image" else "a red fox"
    image = None if kind == "text" else jpeg(1)
    vectors = encode(encoder, [EncoderRow(text, image, Side.CANDIDATE)] * 3)
    assert vectors.shape == (3, encoder.dimension) and vectors.isfinite().all()


def test_text_image_and_instruction_all_change_the_vector(encoder):
    rows = [
        EncoderRow("a red fox", None, Side.QUERY),
        EncoderRow("two cats", None, Side.QUERY),
        EncoderRow("a red fox", None, Side.QUERY, "Find an image"),
    ]
    if reads_images(encoder):
        rows += [EncoderRow("a red fox", jpeg(seed), Side.QUERY) for seed in (1, 2)]
        rows += [EncoderRow(None, jpeg(2), Side.QUERY)]
    vectors = encode(encoder, rows)
    similarity = vectors @ vectors.T - torch.eye(len(rows))
    assert similarity.max() < 0.99999


def test_a_text_longer_than_the_context_is_cut_and_not_refused(encoder):
    assert encode(encoder, [EncoderRow("fox " * 500, None, Side.QUERY)]).isfinite().all()


def test_preprocess_travels_to_a_worker_without_weights(encoder):
    packed = pickle.dumps(encoder.preprocess)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in encoder.parameters())
    rows = mixed_rows(encoder, 4)
    for name, tensor in pickle.loads(packed)(rows).items():
        assert torch.equal(tensor, encoder.preprocess(rows)[name])
    assert not any(isinstance(value, torch.nn.Module) for value in vars(encoder.preprocess).values())
    assert len(packed) < weights + 8_000_000  # CLIP's own vocabulary is a few megabytes


def test_estimated_lengths_grow_with_text_and_image(encoder):
    short, longer, both = encoder.preprocess.lengths(
        np.array([5, 27, 27]), np.array([False, False, True]), Side.CANDIDATE
    )
    assert 0 < short < longer and (longer < both or not reads_images(encoder))


def test_costs_are_of_each_row_and_travel_with_a_selection(encoder):
    features = encoder.preprocess(mixed_rows(encoder, 6))
    costs = encoder.costs(features)
    assert costs.shape == (6,) and (costs > 0).all()
    rows = torch.tensor([4, 1, 3])
    assert torch.equal(encoder.costs(encoder.select(features, rows)), costs[rows])


def test_selected_rows_have_the_vectors_that_they_have_in_the_batch(encoder):
    features = encoder.preprocess(mixed_rows(encoder, 7))
    whole = encode(encoder, mixed_rows(encoder, 7))
    for rows in ([5], [6, 0, 2], [1, 2, 4, 5]):
        chosen = torch.tensor(rows)
        for given in (features, encoder.frozen_part(features)):
            with torch.no_grad():
                vectors = encoder(encoder.select(given, chosen))
            torch.testing.assert_close(vectors, whole[chosen], atol=1e-5, rtol=0)


def test_every_trainable_parameter_gets_a_gradient_and_no_frozen_one_does(encoder):
    encoder.train()
    encoder.zero_grad()
    encoder(encoder.preprocess(mixed_rows(encoder, 6)))[:, 0].sum().backward()
    for name, parameter in encoder.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    encoder.eval()


@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_batch_without_one_modality_still_gives_every_parameter_a_gradient(encoder, kind):
    if kind == "image":
        needs_images(encoder)
    row = EncoderRow("a fox", None, Side.QUERY) if kind == "text" else EncoderRow(None, jpeg(), Side.QUERY)
    encoder.train()
    encoder.zero_grad()
    encoder(encoder.preprocess([row])).sum().backward()
    assert all(p.grad is not None for p in encoder.parameters() if p.requires_grad)
    encoder.eval()


def test_a_saved_encoder_comes_back_with_the_same_vectors_and_hash(encoder, tmp_path):
    save_encoder(encoder, tmp_path / "model")
    again = load_encoder(tmp_path / "model")
    rows = mixed_rows(encoder, 5)
    assert torch.equal(encode(again, rows), encode(encoder, rows))
    assert weights_hash(again) == weights_hash(encoder)
    save_encoder(again, tmp_path / "again")
    first, second = (sorted((tmp_path / name).rglob("*")) for name in ("model", "again"))
    assert [p.read_bytes() for p in first if p.is_file()] == [p.read_bytes() for p in second if p.is_file()]
