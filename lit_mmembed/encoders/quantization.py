"""A frozen language model in 4 bits below its adapters (QLoRA, Dettmers et al., 2023), through bitsandbytes.

NF4 with doubly quantised scales: a 7B model takes 4 GB. Weights are packed on the CPU, so that every machine packs the
same bytes, and an adapter's folder recognises its base.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from lit_mmembed.errors import InputError

Quantization = Literal["4bit"]


def quantize_linears(module: nn.Module, dtype: torch.dtype) -> None:
    """Replace every linear layer by one with packed weights, in place.

    Args:
        module: A language model whose weights are loaded.
        dtype: What matrix products are computed in.

    Raises:
        InputError: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes
    except ImportError:
        fix = "pip install bitsandbytes, or leave `quantize` out"
        raise InputError("4-bit weights need the package bitsandbytes", fix=fix) from None
    for name, layer in list(module.named_modules()):
        if type(layer) is nn.Linear:
            module.set_submodule(name, _packed(layer, dtype, bitsandbytes))


def dequantize_linears(module: nn.Module) -> None:
    """Replace every layer with packed weights by a plain one, in place: what adapters can be added to."""
    for name, layer in list(module.named_modules()):
        if type(layer).__name__ == "Linear4bit":
            module.set_submodule(name, _unpacked(layer))


def _packed(layer: nn.Linear, dtype: torch.dtype, bitsandbytes: Any) -> nn.Module:
    how: dict[str, Any] = {"compress_statistics": True, "quant_type": "nf4"}
    shape = {"input_features": layer.in_features, "output_features": layer.out_features}
    packed = bitsandbytes.nn.Linear4bit(**shape, bias=False, compute_dtype=dtype, device="meta", **how)
    packed.weight = bitsandbytes.nn.Params4bit(layer.weight.data, requires_grad=False, **how)
    packed.bias = layer.bias
    packed.support_avx512bf16_for_cpu = False  # it would pack the weights otherwise in the first forward pass
    return packed.to("cpu")


def _unpacked(layer: Any) -> nn.Linear:
    from bitsandbytes.functional import dequantize_4bit

    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    plain = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    plain.weight = nn.Parameter(weight, requires_grad=False)
    plain.bias = layer.bias
    return plain
