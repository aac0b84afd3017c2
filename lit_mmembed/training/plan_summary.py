"""A plan as one dictionary, with what will not work and what to change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lit_mmembed.training.devices import GIB
from lit_mmembed.training.plan import (
    RESERVED,
    chunk_activations,
    encoding_memory,
    fits,
    index,
    largest_chunk,
    memory,
    parameters,
    run_time,
    step_flops,
    tokens,
)
from lit_mmembed.training.planned_fit import Fit

FOUR_BIT = 0.56
"""Bytes of a weight in NF4 with its scales (QLoRA)."""

FSDP2 = "FSDP2 (experiments/mbeir/machines/fsdp2.yaml)"


def fit_summary(fit: Fit) -> dict[str, Any]:
    """Return everything that a plan says of a fit: counts, bytes, FLOPs, seconds, assumptions, warnings."""
    settings, encoder = fit.settings, fit.encoder
    choices = {"with gradient checkpointing": True, "without": False} if encoder.can_checkpoint else {"kept": False}
    kept = {how: chunk_activations(fit, settings.chunk_tokens, checkpointing=on) for how, on in choices.items()}
    return {
        **_common(fit),
        "step": {
            "queries": settings.batch_size,
            "negatives": settings.negatives,
            "chunk_tokens": settings.chunk_tokens,
            "gradient_checkpointing": encoder.checkpointing,
            **tokens(encoder, fit.step),
        },
        "memory": memory(fit, settings.chunk_tokens, checkpointing=encoder.checkpointing),
        "activations": kept,
        "flops": step_flops(fit),
        "time": run_time(fit),
        "warnings": warnings(fit),
    }


def predict_summary(fit: Fit) -> dict[str, Any]:
    """Return what a plan says of embedding the pool."""
    found = encoding_memory(fit)
    warned = [] if fits(fit, found) else [_too_much(fit, found), "lower data.encode_rows"]
    hours = {"pool_hours": run_time(fit)["pool_hours"]}
    return {**_common(fit), "memory": found, "time": hours, "warnings": warned}


def warnings(fit: Fit) -> list[str]:
    """Return what will not work, and after it what would."""
    settings, encoder = fit.settings, fit.encoder
    found = memory(fit, settings.chunk_tokens, checkpointing=encoder.checkpointing)
    warned = []
    if settings.batch_size % fit.machine.gpus:
        warned.append(f"{settings.batch_size} queries do not divide by {fit.machine.gpus} GPUs: their work is unequal")
    longest = tokens(encoder, fit.step)["longest_row"]
    if settings.chunk_tokens is not None and settings.chunk_tokens < longest:
        warned.append(
            f"a row has {longest:.0f} tokens, a chunk {settings.chunk_tokens}: each long row is its own chunk"
        )
    if not fits(fit, found):
        warned += [_too_much(fit, found), *_remedies(fit, found)]
    return warned


def _common(fit: Fit) -> dict[str, Any]:
    machine = fit.machine
    return {
        "machine": {
            "gpu": machine.device.name,
            "gpus": machine.gpus,
            "peak_flops": machine.device.peak_in(fit.precision),
            "mfu": machine.mfu,
            "memory": machine.device.memory,
            "usable": machine.device.memory * (1 - RESERVED),
        },
        "parameters": parameters(fit.encoder),
        "pool": {**index(fit), **{f"pool_{k}": v for k, v in tokens(fit.encoder, fit.workload.pool).items()}},
        "assumptions": [*fit.workload.assumptions, *_assumptions(fit)],
    }


def _assumptions(fit: Fit) -> list[str]:
    return [
        f"{fit.machine.mfu:.0%} of the peak for all that is executed, recomputation too; communication, loading data "
        "and validating take no time",
        f"{RESERVED:.0%} of a GPU's memory is left to CUDA and the allocator",
        "weights that are trained are fp32 with two fp32 moments; prompt templates and padding are left out",
    ]


def _too_much(fit: Fit, found: dict[str, float]) -> str:
    usable = fit.machine.device.memory * (1 - RESERVED) / GIB
    return f"does not fit: {found['total'] / GIB:.1f} GiB needed on each GPU, {usable:.1f} GiB usable"


def _remedies(fit: Fit, found: dict[str, float]) -> list[str]:
    """Say what would make it fit, the cheapest first."""
    settings, encoder = fit.settings, fit.encoder
    fixed = found["weights"] + found["gradients"] + found["optimizer"]
    if fixed > fit.machine.device.memory * (1 - RESERVED):
        return _smaller_weights(fit, found)
    cached = replace(fit, settings=replace(settings, chunk_tokens=settings.chunk_tokens or 1))
    ways = {"": encoder.checkpointing}
    if encoder.can_checkpoint and not encoder.checkpointing:
        ways[" with model.encoder.init_args.gradient_checkpointing=true"] = True
    chunks = {how: largest_chunk(cached, checkpointing=on) for how, on in ways.items()}
    found_ways = [f"model.chunk_tokens={chunk}{how} fits" for how, chunk in chunks.items() if chunk]
    return found_ways or [
        f"lower data.batch_size ({settings.batch_size}), or take more GPUs: a step's vectors are too many"
    ]


def _smaller_weights(fit: Fit, found: dict[str, float]) -> list[str]:
    counts = parameters(fit.encoder)
    four_bit = (counts["total"] - counts["trainable"]) * FOUR_BIT / GIB
    sharded = (found["weights"] + found["gradients"] + found["optimizer"]) / fit.machine.gpus / GIB
    shard = f"{FSDP2} splits them over {fit.machine.gpus} GPUs: {sharded:.1f} GiB each"
    return [
        f"frozen weights in 4 bits (QLoRA) would take {four_bit:.1f} GiB",
        shard if fit.machine.gpus > 1 else f"take more GPUs, with {FSDP2}",
    ]
