"""LoRA on a language model, through peft: the paper's r = 8, alpha = 64 (section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lit_mmembed.encoders.quantization import dequantize_linears
from lit_mmembed.errors import InputError

LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass
class Lora:
    """Low-rank adapters: W x + (alpha / r) B A x, with B = 0 at the start."""

    r: int = 8
    """Rank."""
    alpha: int = 64
    """Scale; the paper's 64 makes the update's factor 8."""
    dropout: float = 0.0
    """On the adapter's input. The paper states none."""
    targets: tuple[str, ...] = LINEAR
    """Names of the linear layers that get one. The paper says "the language model"; these are all of a layer."""


def add_lora(language_model: nn.Module, lora: Lora) -> None:
    """Put adapters into a language model, in place; they are fp32 whatever the weights are.

    Raises:
        InputError: no layer of the model has one of the names.
    """
    from peft import LoraConfig, inject_adapter_in_model

    from lit_mmembed.encoders.fused import fuse_lora

    layers = {name.rpartition(".")[2] for name, module in language_model.named_modules() if not list(module.children())}
    if absent := [target for target in lora.targets if target.rpartition(".")[2] not in layers]:
        problem = f"no layer of the language model is named {', '.join(absent)}"
        raise InputError(problem, fix="name its linear layers in lora.targets")
    settings = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.targets), bias="none"
    )
    try:
        inject_adapter_in_model(settings, language_model)
    except ValueError as unfit:
        problem = f"no adapters for {', '.join(lora.targets)}: {str(unfit).splitlines()[0]}"
        raise InputError(problem, fix="name linear layers in lora.targets") from None
    for name, parameter in language_model.named_parameters():
        if is_adapter(name):
            parameter.data = parameter.data.to(torch.float32)
    fuse_lora(language_model)


def merge_lora(language_model: nn.Module) -> None:
    """Add the adapters to the weights that they adapt and remove them, in place; 4-bit weights become plain ones."""
    from peft.tuners.lora import LoraLayer

    dequantize_linears(language_model)
    for name, module in list(language_model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent = language_model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], module.get_base_layer())


def is_adapter(name: str) -> bool:
    """Say whether a parameter is an adapter's."""
    return ".lora_" in name


def trainable_summary(module: nn.Module) -> list[tuple[str, int, int]]:
    """Count parameters by part: (part, trainable, all), parts in the module's order, "total" last."""
    counts: dict[str, list[int]] = {}
    for name, parameter in module.named_parameters():
        part = _part(name)
        counts.setdefault(part, [0, 0])
        counts[part][0] += parameter.numel() if parameter.requires_grad else 0
        counts[part][1] += parameter.numel()
    rows: list[tuple[str, int, int]] = [(part, trained, size) for part, (trained, size) in counts.items()]
    return [*rows, ("total", sum(row[1] for row in rows), sum(row[2] for row in rows))]


def _part(name: str) -> str:
    if is_adapter(name):
        return "lora"
    pieces: list[Any] = name.split(".")
    return pieces[1] if pieces[0] == "backbone" and len(pieces) > 1 else pieces[0]
