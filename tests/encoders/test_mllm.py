"""What holds of an MLLM encoder whatever it is made of: a row's vector is its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lit_mmembed.encoders import mllm
from lit_mmembed.encoders.adapters import Lora
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.packing import Packing, chunks_by_tokens
from lit_mmembed.encoders.pooling import EosPooling, MeanPooling
from lit_mmembed.encoders.pretrained import load_encoder, save_encoder
from lit_mmembed.encoders.prompts import OneWordPrompts, ZeroShotPrompts
from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json
from lit_mmembed.types import EncoderRow, Side
from tests.encoders.small import TEXTS, jpeg, mixed_rows
from tests.encoders.small_mllm import (
    ENCODERS,
    copied,
    llava_e,
    llava_folder,
    nv_embed_llava,
    nv_embed_text,
    tensors_of,
    write_tensors,
)

SIZES = [(40, 40), (90, 30), (30, 90), (64, 64)]


@pytest.fixture(scope="module", params=ENCODERS, ids=lambda build: build.__name__)
def encoder(request):
    return request.param().eval()


@torch.no_grad()
def vectors(encoder, rows):
    return encoder(encoder.preprocess(rows))


def rows_of_all_lengths(encoder):
    """Texts of 1 to 40 words, images of several shapes, both, both sides, with and without instructions."""
    rows = []
    for index, words in enumerate((1, 3, 9, 40, 2, 17, 5, 30)):
        text = " ".join(TEXTS[index % len(TEXTS)] for _ in range(words))[: 6 * words]
        image = jpeg(index, SIZES[index % 4]) if index % 2 and encoder.preprocess.images else None
        side = Side.CANDIDATE if index % 3 == 2 else Side.QUERY
        rows.append(EncoderRow(text, image, side, "Find it" if side is Side.QUERY and index % 2 else None))
    if encoder.preprocess.images:
        rows.append(EncoderRow(None, jpeg(9, (50, 50)), Side.CANDIDATE))
    return rows


def test_a_row_alone_has_the_vector_that_it_has_among_others(encoder):
    rows = rows_of_all_lengths(encoder)
    alone = torch.cat([vectors(encoder, [row]) for row in rows])
    torch.testing.assert_close(vectors(encoder, rows), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors(encoder, rows[::-1]).flip(0), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("more", [1, 50])
def test_padding_changes_no_vector(encoder, more, monkeypatch):
    rows = rows_of_all_lengths(encoder)
    before = vectors(encoder, rows)
    monkeypatch.setattr(mllm, "Packing", lambda lengths, causal, longest: Packing(lengths, causal, longest + more))
    torch.testing.assert_close(vectors(encoder, rows), before, atol=1e-5, rtol=0)


@given(st.data())
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_cut_into_chunks_gives_the_same_vectors(encoder, data):
    rows = rows_of_all_lengths(encoder)
    order = torch.tensor(data.draw(st.permutations(range(len(rows)))))
    budget = data.draw(st.integers(1, 400))
    features = encoder.select(encoder.preprocess(rows), order)
    made = torch.zeros(len(rows), encoder.dimension)
    with torch.no_grad():
        for chunk in chunks_by_tokens(encoder.costs(features), budget):
            made[order[chunk]] = encoder(encoder.select(features, chunk))
    torch.testing.assert_close(made, vectors(encoder, rows), atol=1e-5, rtol=0)


def test_frozen_vision_is_computed_once(encoder, monkeypatch):
    if encoder.preprocess.images is None:
        return
    features = encoder.preprocess(mixed_rows(7))
    before = vectors(encoder, mixed_rows(7))
    frozen = encoder.frozen_part(features)
    assert "pixels" not in frozen and not frozen["vision"].requires_grad
    monkeypatch.setattr(encoder.backbone, "vision", None)
    with torch.no_grad():
        assert torch.equal(encoder(frozen), before) and encoder.frozen_part(frozen) is frozen


def test_the_vision_tower_and_the_newline_are_never_trained(encoder):
    frozen = {name for name, parameter in encoder.named_parameters() if not parameter.requires_grad}
    everything = {name for name, _ in encoder.named_parameters()}
    vision = {name for name in everything if "vision_tower" in name or "image_newline" in name}
    assert vision <= frozen


@pytest.mark.parametrize("trained", [("lora",), ("projector",), ("language_model",), ("lora", "projector")])
def test_only_what_is_named_is_trained(trained):
    encoder = MllmEncoder(LlavaNextBackbone(llava_folder()), lora=Lora(r=2), trained=trained)
    parts = {
        "lora": lambda name: ".lora_" in name,
        "projector": lambda name: "multi_modal_projector" in name,
        "language_model": lambda name: "language_model" in name and ".lora_" not in name,
    }
    for name, parameter in encoder.named_parameters():
        assert parameter.requires_grad == any(parts[part](name) for part in trained), name


def test_gradient_checkpointing_changes_no_gradient():
    grads = []
    for checkpointing in (False, True):
        encoder = MllmEncoder(
            LlavaNextBackbone(llava_folder()), trained=("language_model",), gradient_checkpointing=checkpointing
        ).train()
        encoder(encoder.preprocess(mixed_rows(5)))[:, 0].sum().backward()
        grads.append({name: p.grad for name, p in encoder.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys() and len(grads[0]) > 10
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("prompts", [OneWordPrompts, ZeroShotPrompts])
def test_end_of_sequence_pooling_needs_prompts_that_end_with_it(prompts):
    with pytest.raises(InputError, match="needs an end-of-sequence token, the prompts have none"):
        MllmEncoder(LlavaNextBackbone(llava_folder()), prompts=prompts(), pooling=EosPooling())


def test_an_adapters_folder_keeps_only_what_was_trained_and_moves_with_its_base(tmp_path):
    base = copied(llava_folder(), tmp_path / "here")
    encoder = MllmEncoder(LlavaNextBackbone(base), lora=Lora(r=2))
    save_encoder(encoder, tmp_path / "here/model")
    described = read_json(tmp_path / "here/model/encoder.json")
    assert described["init_args"]["backbone"]["init_args"]["path"] == "../llava_bytes"
    (tmp_path / "here").rename(tmp_path / "there")
    again = load_encoder(tmp_path / "there/model")
    assert torch.equal(vectors(again, mixed_rows(4)), vectors(encoder, mixed_rows(4)))
    whole = (tmp_path / "there/llava_bytes/model.safetensors").stat().st_size
    assert (tmp_path / "there/model/weights.safetensors").stat().st_size < whole / 2


def test_an_adapter_is_refused_on_another_base(tmp_path):
    base = copied(llava_folder(), tmp_path)
    save_encoder(MllmEncoder(LlavaNextBackbone(base), lora=Lora(r=2)), tmp_path / "model")
    weights = tensors_of(base)
    changed = next(name for name in weights if name.endswith("layers.1.mlp.up_proj.weight"))
    write_tensors(base, {**weights, changed: weights[changed] * 1.01})
    with pytest.raises(InputError, match="was trained on other base weights than the encoder has"):
        load_encoder(tmp_path / "model")


def test_there_are_as_many_image_tokens_as_vectors_of_images():
    encoder = llava_e().eval()
    token = encoder.preprocess.images.token_id
    features = encoder.preprocess(mixed_rows(7))
    assert int((features["tokens"] == token).sum()) == int(features["image_tokens"].sum())


def test_other_poolings_and_attentions_are_arguments():
    rows = mixed_rows(4)
    made = [
        vectors(MllmEncoder(LlavaNextBackbone(llava_folder()), pooling=pooling, attention=attention).eval(), rows)
        for pooling in (EosPooling(), MeanPooling())
        for attention in ("causal", "bidirectional")
    ]
    for one in range(4):
        for other in range(one):
            assert (made[one] - made[other]).abs().max() > 1e-3


def test_training_moves_the_vectors_only_through_what_is_trained():
    for build in (nv_embed_llava, nv_embed_text):
        encoder = build().train()
        rows = [row for row in mixed_rows(6) if row.image is None or encoder.preprocess.images]
        before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
        optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
        encoder(encoder.preprocess(rows))[:, 0].sum().backward()
        optimizer.step()
        for name, parameter in encoder.named_parameters():
            assert parameter.requires_grad or torch.equal(parameter, before[name]), name
