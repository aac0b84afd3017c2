"""The plan of one fit or embedding as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lit_mmembed.training.devices import GIB


def lines(name: str, plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield a plan as text."""
    machine = plan["machine"]
    yield f"{name}"
    yield (
        f"  machine      {machine['gpus']} x {machine['gpu']}: {machine['memory'] / GIB:.0f} GiB and "
        f"{machine['peak_flops'] / 1e12:.0f} TFLOP/s each, {machine['mfu']:.0%} of it reached"
    )
    counts = dict(plan["parameters"])
    total, trained, share = (counts.pop(key) for key in ("total", "trainable", "share"))
    parts = ", ".join(f"{part} {count(weights)}" for part, weights in counts.items())
    yield f"  parameters   {parts}; total {count(total)}"
    yield f"  trained      {count(trained)}, {share:.2%}"
    yield from _step_lines(plan) if "step" in plan else ()
    yield from _memory_lines(plan)
    yield from _time_lines(plan)
    yield from (f"  assumed      {text}" for text in plan["assumptions"])
    yield from (f"  WARNING      {text}" for text in plan["warnings"])


def _step_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    step, flops = plan["step"], plan["flops"]
    yield (
        f"  step         {step['queries']:,} queries, {step['rows']:,.0f} rows, {step['images']:,.0f} images, "
        f"{count(step['tokens'])} tokens, of them {count(step['image_tokens'])} of images"
    )
    yield (
        f"  FLOPs        {flops['executed']:.2e} executed a step; forward {flops['forward']:.2e}, backward "
        f"{flops['backward']:.2e}"
    )


def _memory_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    held, machine = dict(plan["memory"]), plan["machine"]
    total = held.pop("total")
    yield f"  memory       {total / GIB:.1f} GiB of {machine['usable'] / GIB:.1f} GiB usable on each GPU:"
    yield "               " + ", ".join(f"{what} {size(kept)}" for what, kept in held.items() if kept)
    if "activations" in plan:
        step = plan["step"]
        chunk = "a plain step" if step["chunk_tokens"] is None else f"a chunk of {step['chunk_tokens']:,} tokens"
        kept = ", ".join(f"{size(bytes_kept)} {how}" for how, bytes_kept in plan["activations"].items())
        yield f"               activations of {chunk}: {kept}"
    pool = plan["pool"]
    yield (
        f"  index        {pool['documents']:,.0f} documents x {pool['dimension']:,}: {size(pool['fp16'])} in fp16, "
        f"{size(pool['fp32'])} in fp32"
    )


def _time_lines(plan: Mapping[str, Any]) -> Iterator[str]:
    time = plan["time"]
    pool = f"embedding the pool: {hours(time['pool_hours'])}"
    if "run_hours" not in time:
        yield f"  time         {pool}"
        return
    run = f"{time['seconds_per_step']:.3g} s a step, {time['steps']:,} steps: {hours(time['run_hours'])}"
    yield f"  time         {run}; {pool}"


def count(number: float) -> str:
    """Write a number with its unit: 7.11 G."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Write bytes as GiB or MiB."""
    return f"{number / GIB:.1f} GiB" if number >= GIB / 10 else f"{number / (1 << 20):.0f} MiB"


def hours(number: float) -> str:
    """Write hours as hours or minutes."""
    return f"{number:.1f} h" if number >= 1 else f"{number * 60:.1f} min"
