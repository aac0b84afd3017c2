"""LoRA beside its formula."""

from __future__ import annotations

import pytest
import torch

from lit_mmembed.encoders.adapters import LINEAR, Lora, add_lora, is_adapter, merge_lora, trainable_summary
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.pretrained import load_encoder, save_encoder
from lit_mmembed.errors import InputError
from tests.encoders.small import mixed_rows
from tests.encoders.small_mllm import llava_folder, with_drawn_adapters


def encoder(dtype="float32", **lora):
    backbone = LlavaNextBackbone(llava_folder(), dtype=dtype)
    return with_drawn_adapters(MllmEncoder(backbone, lora=Lora(**lora))).eval()


@torch.no_grad()
def vectors(encoder):
    return encoder(encoder.preprocess(mixed_rows(7)))


def test_the_papers_adapters_are_the_default():
    assert (Lora().r, Lora().alpha, Lora().targets) == (8, 64, LINEAR)


def test_new_adapters_change_nothing():
    plain = MllmEncoder(LlavaNextBackbone(llava_folder())).eval()
    adapted = MllmEncoder(LlavaNextBackbone(llava_folder()), lora=Lora(r=2)).eval()
    assert torch.equal(vectors(plain), vectors(adapted))


@torch.no_grad()
def test_an_adapter_adds_alpha_over_r_times_b_a():
    model = encoder(r=2, alpha=6, targets=("q_proj",)).backbone.language_model
    layer = model.layers[0].self_attn.q_proj
    x = torch.randn(5, layer.in_features)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    expected = x @ layer.base_layer.weight.T + 6 / 2 * x @ a.T @ b.T
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_merged_weights_are_w_plus_alpha_over_r_b_a_and_give_the_same_vectors():
    adapted = encoder(r=2, alpha=8)
    before = vectors(adapted)
    layer = adapted.backbone.language_model.layers[1].mlp.up_proj
    a, b, w = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.base_layer.weight.clone()
    merge_lora(adapted.backbone.language_model)
    merged = adapted.backbone.language_model.layers[1].mlp.up_proj
    assert type(merged) is torch.nn.Linear
    torch.testing.assert_close(merged.weight, w + 8 / 2 * b @ a, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(vectors(adapted), before, atol=1e-5, rtol=0)


def test_every_named_layer_and_no_other_gets_one():
    model = encoder(r=2, targets=("q_proj", "down_proj")).backbone.language_model
    got = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if is_adapter(name)}
    ends = ("self_attn.q_proj", "mlp.down_proj")
    assert got == {f"layers.{layer}.{end}" for layer in range(2) for end in ends}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_are_single_precision_whatever_the_weights_are(dtype):
    for name, parameter in encoder(dtype=dtype, r=2).backbone.language_model.named_parameters():
        assert parameter.dtype == (torch.float32 if is_adapter(name) else getattr(torch, dtype)), name


def test_targets_that_match_nothing_are_an_error():
    with pytest.raises(InputError, match=r"no layer of the language model is named c_attn, c_proj \(fix: name its"):
        MllmEncoder(LlavaNextBackbone(llava_folder()), lora=Lora(targets=("c_attn", "c_proj")))


def test_one_target_of_several_that_matches_nothing_is_an_error():
    with pytest.raises(InputError, match=r"no layer of the language model is named c_attn \("):
        MllmEncoder(LlavaNextBackbone(llava_folder()), lora=Lora(targets=("q_proj", "c_attn")))


@pytest.mark.parametrize("target", ["input_layernorm", "act_fn"])
def test_a_target_that_is_no_linear_layer_is_an_error(target):
    with pytest.raises(InputError, match=f"no adapters for {target}: "):
        MllmEncoder(LlavaNextBackbone(llava_folder()), lora=Lora(targets=(target,)))


def test_adapters_do_not_reach_the_vision_tower():
    names = [name for name, _ in encoder(r=2).named_parameters() if is_adapter(name)]
    assert names and all(name.startswith("backbone.language_model.") for name in names)


def test_what_is_trained_is_counted_by_part():
    model = encoder(r=2)
    summary = {part: (trained, size) for part, trained, size in trainable_summary(model)}
    parameters = dict(model.named_parameters())
    trained = sum(p.numel() for p in parameters.values() if p.requires_grad)
    assert summary["total"] == (trained, sum(p.numel() for p in parameters.values()))
    assert summary["vision_tower"][0] == 0 and summary["language_model"][0] == 0
    projector = sum(p.numel() for name, p in parameters.items() if "multi_modal_projector" in name)
    assert summary["multi_modal_projector"] == (projector, projector)
    assert summary["lora"][0] == summary["lora"][1] == sum(p.numel() for n, p in parameters.items() if is_adapter(n))


def test_rank_scale_and_targets_come_back_with_a_model_folder(tmp_path):
    made = encoder(r=3, alpha=5, targets=("v_proj",))
    save_encoder(made, tmp_path / "model")
    again = load_encoder(tmp_path / "model")
    assert (again.lora.r, again.lora.alpha, tuple(again.lora.targets)) == (3, 5, ("v_proj",))
    assert torch.equal(vectors(again), vectors(made))


def test_adapters_on_a_bare_module_are_put_in_place():
    module = torch.nn.ModuleDict({"q_proj": torch.nn.Linear(4, 4)})
    add_lora(module, Lora(r=1, targets=("q_proj",)))
    assert any(is_adapter(f".{name}") for name, _ in module.named_parameters())
