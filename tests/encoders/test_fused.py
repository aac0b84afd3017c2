"""Fused layers give what peft's and transformers' give, and the same gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lit_mmembed.encoders.adapters import Lora, add_lora
from lit_mmembed.encoders.fused import FusedLoraLinear, PeftLinear, fuse_norms

SHAPES = {
    "plain": (False, torch.float32),
    "with bias": (True, torch.float32),
    "half precision": (False, torch.bfloat16),
}


class Body(nn.Module):
    def __init__(self, bias, dtype):
        super().__init__()
        self.q_proj = nn.Linear(12, 20, bias=bias, dtype=dtype)
        self.o_proj = nn.Linear(20, 8, bias=bias, dtype=dtype)

    def forward(self, x):
        return self.o_proj(torch.tanh(self.q_proj(x)))


def adapted(bias, dtype, dropout=0.0):
    torch.manual_seed(0)
    body = Body(bias, dtype).requires_grad_(False)
    add_lora(body, Lora(r=3, alpha=6, dropout=dropout, targets=("q_proj", "o_proj")))
    for name, parameter in body.named_parameters():
        parameter.requires_grad_("lora" in name)
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return body


def as_peft(body):
    body = copy.deepcopy(body)
    for module in body.modules():
        if isinstance(module, FusedLoraLinear):
            module.__class__ = PeftLinear
    return body


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_lora_gives_the_result_and_gradients_of_peft(shape, autocast):
    bias, dtype = SHAPES[shape]
    fused = adapted(bias, dtype)
    assert all(type(module) is FusedLoraLinear for module in (fused.q_proj, fused.o_proj))
    found = []
    for body in (fused, as_peft(fused)):
        x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1)).to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = body(x)
        out.float().pow(2).sum().backward()
        found.append([out.float(), x.grad.float(), *(p.grad for p in body.parameters() if p.requires_grad)])
    exact = dtype is torch.float32 and not autocast
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() <= (1e-6 if exact else 2e-2) * theirs.norm()


def test_dropout_goes_the_way_of_peft():
    body = adapted(False, torch.float32, dropout=0.5).train()
    x = torch.ones(4, 12)
    torch.manual_seed(3)
    ours = body(x)
    torch.manual_seed(3)
    assert torch.equal(ours, as_peft(body)(x))
    assert not torch.equal(ours, body(x))


def test_a_merged_layer_still_gives_the_same():
    body = adapted(True, torch.float32)
    x = torch.randn(4, 12)
    before = body(x)
    for module in (body.q_proj, body.o_proj):
        module.merge()
    torch.testing.assert_close(body(x), before)


def test_a_norm_stays_what_it_was_outside_of_a_gpu():
    from transformers.models.mistral.modeling_mistral import MistralRMSNorm

    body = nn.ModuleList([MistralRMSNorm(6)])
    x = torch.randn(3, 6)
    before = body[0](x)
    fuse_norms(body)
    fuse_norms(body)
    assert torch.equal(body[0](x), before) and isinstance(body[0], MistralRMSNorm)


@pytest.mark.gpu
def test_a_norm_on_a_gpu_is_that_of_transformers():
    from transformers.models.mistral.modeling_mistral import MistralRMSNorm

    body = nn.ModuleList([MistralRMSNorm(64)]).to("cuda", torch.bfloat16)
    x = torch.randn(30, 64, device="cuda", dtype=torch.bfloat16)
    before = body[0](x)
    fuse_norms(body)
    torch.testing.assert_close(body[0](x), before, rtol=2e-2, atol=2e-2)
