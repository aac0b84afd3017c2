"""QLoRA: a language model in 4 bits below its adapters. All but the first test need bitsandbytes."""

from __future__ import annotations

import copy
import sys

import pytest
import torch

from lit_mmembed.encoders.adapters import Lora
from lit_mmembed.encoders.exporting import merge_adapters, save_checkpoint
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.nv_embed import NvEmbedLlavaBackbone
from lit_mmembed.encoders.pretrained import load_encoder, save_encoder
from lit_mmembed.encoders.quantization import dequantize_linears, quantize_linears
from lit_mmembed.errors import InputError
from tests.encoders.small import mixed_rows
from tests.encoders.small_mllm import llava_folder, nv_embed_folder, with_drawn_adapters


def backbones():
    yield LlavaNextBackbone(llava_folder(), quantize="4bit")
    yield NvEmbedLlavaBackbone(llava_folder(), nv_embed_folder(), quantize="4bit")


def encoder(backbone):
    return with_drawn_adapters(MllmEncoder(backbone, lora=Lora(r=2, alpha=8))).eval()


@torch.no_grad()
def vectors(encoder):
    return encoder(encoder.preprocess(mixed_rows(7)))


def test_without_bitsandbytes_4_bits_are_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(InputError, match=r"need the package bitsandbytes \(fix: pip install bitsandbytes"):
        next(backbones())


@pytest.fixture(params=[0, 1], ids=["llava", "nv_embed_llava"])
def quantized(request):
    pytest.importorskip("bitsandbytes")
    return encoder(list(backbones())[request.param])


def test_only_the_language_models_linear_layers_are_packed(quantized):
    packed = {name for name, module in quantized.named_modules() if type(module).__name__ == "Linear4bit"}
    assert len(packed) == 2 * 7 and all(".language_model.layers." in name for name in packed)


def test_each_weight_is_the_nearest_of_16_levels_of_its_block():
    """NF4's widest gap is 0.30 of a block's largest magnitude; the scales' own 8 bits add a little."""
    pytest.importorskip("bitsandbytes")
    whole = torch.nn.Linear(128, 64)
    module = torch.nn.Sequential(copy.deepcopy(whole))
    quantize_linears(module, torch.float32)
    packed = module(torch.eye(128)).T - whole.bias[:, None]
    dequantize_linears(module)
    torch.testing.assert_close(packed, module[0].weight, atol=1e-5, rtol=0)
    assert torch.equal(module[0].bias, whole.bias)
    blocks = whole.weight.reshape(-1, 64)
    off = (blocks - module[0].weight.reshape(-1, 64)).abs() / blocks.abs().amax(1, keepdim=True)
    assert off.max() < 0.17 and off.mean() > 0.01


def test_adapters_get_gradients_through_packed_weights(quantized):
    quantized.train()
    quantized(quantized.preprocess(mixed_rows(6)))[:, 0].sum().backward()
    for name, parameter in quantized.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or parameter.grad.abs().sum() > 0, name


def test_an_adapters_folder_packs_its_base_again(quantized, tmp_path):
    save_encoder(quantized, tmp_path / "model")
    again = load_encoder(tmp_path / "model")
    assert torch.equal(vectors(again), vectors(quantized))


def test_merging_unpacks_and_leaves_the_vectors_as_they_are(quantized, tmp_path):
    before = vectors(quantized)
    merged = merge_adapters(quantized)
    torch.testing.assert_close(vectors(merged), before, atol=1e-5, rtol=0)
    save_encoder(merged, tmp_path / "whole")
    torch.testing.assert_close(vectors(load_encoder(tmp_path / "whole")), before, atol=1e-5, rtol=0)
    save_checkpoint(merged, tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint/model.safetensors").exists()


def test_plain_layers_are_left_alone():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2))
    layer = module[0]
    dequantize_linears(module)
    assert module[0] is layer
