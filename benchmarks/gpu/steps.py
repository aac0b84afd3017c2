"""A training step of the paper's size: chunk sizes, then one whole step with its phases, memory and FLOPs."""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager

import torch

from benchmarks.gpu.models import make_batch
from lit_mmembed.encoders.adapters import LINEAR
from lit_mmembed.encoders.costs import Rows, adapters
from lit_mmembed.encoders.shapes import llava
from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.training import cached_step
from lit_mmembed.types import Batch

PEAK = 989e12
"""Dense bf16 FLOP/s of an H100 and an H200 (SXM)."""
GIB = 1 << 30
PHASES = {
    "plan_chunks": "plan", "_first_pass": "first pass", "global_gradients": "loss", "_second_pass": "second pass"
}  # fmt: skip


def synchronize():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def clean():
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib():
    return round(torch.cuda.max_memory_allocated() / GIB, 2) if torch.cuda.is_available() else None


def autocast(device):
    return torch.autocast(torch.device(device).type, torch.bfloat16)


@contextmanager
def timed_phases(encoder):
    """Collect the seconds of each phase of a cached step, and the memory's peak in it."""
    seconds, peaks = {}, {}

    def timed(name, function):
        def run(*arguments, **options):
            synchronize()
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            result = function(*arguments, **options)
            synchronize()
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
            peaks[name] = max(peaks.get(name) or 0, peak_gib() or 0)
            return result

        return run

    before = {name: getattr(cached_step, name) for name in PHASES}
    frozen_part = encoder.frozen_part
    for name, label in PHASES.items():
        setattr(cached_step, name, timed(label, before[name]))
    encoder.frozen_part = timed("vision", frozen_part)
    within = encoder.forward

    def forward(features):  # its own call of frozen_part finds nothing left to do
        encoder.frozen_part = frozen_part
        return within(features)

    encoder.forward = forward
    try:
        yield seconds, peaks
    finally:
        for name, function in before.items():
            setattr(cached_step, name, function)
        del encoder.forward, encoder.frozen_part


def parts_of(folder):
    found = llava(folder, attention="causal")
    body = found["language model"].blocks
    return {**found, "adapters": adapters(body, 8, LINEAR)}


def flops(folder, batch):
    """FLOPs of a step: `model` what must be computed once, `executed` with the cached step's second forward pass."""
    parts = parts_of(folder)
    sides = (batch.query, batch.document)
    lengths = [length for side in sides for length in side["lengths"].tolist()]
    images = sum(len(side["image_row"]) for side in sides if "image_row" in side)
    tower = parts["vision tower"]
    patches = sides[0]["image_tokens"][0].item() if images else 0
    vision = tower.forward([Rows(images, patches)]).total
    model = executed = vision
    for name, rows, passes in (
        ("language model", [Rows(1, length) for length in lengths], 1),
        ("adapters", [Rows(1, length) for length in lengths], 2),
        ("projector", [Rows(images, patches)], 2),
    ):
        forward = parts[name].forward(rows)
        once = forward.total + forward.backward(weight_passes=passes)
        model += once
        executed += once + forward.total
    return {"model": model, "executed": executed, "vision": vision}


def counted(batch):
    sides = (batch.query, batch.document)
    images = sum(len(side.get("image_row", ())) for side in sides)
    image_tokens = sum(int(side["image_tokens"].sum()) for side in sides if "image_tokens" in side)
    rows = [len(side["lengths"]) for side in sides]
    tokens = sum(len(side["tokens"]) for side in sides)
    return {
        "queries": rows[0], "documents": rows[1], "images": images, "tokens": tokens, "image_tokens": image_tokens
    }  # fmt: skip


def checkpointed(encoder, wanted):
    model = encoder.backbone.language_model
    if wanted:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_disable()


def some_rows(encoder, batch, tokens):
    """The first rows of a batch with about so many tokens, half of them queries."""
    sides = []
    for side in (batch.query, batch.document):
        rows = max(1, int((side["lengths"].cumsum(0) <= tokens // 2).sum()))
        sides.append(encoder.select(side, torch.arange(rows)))
    count = min(len(side["lengths"]) for side in sides)
    sides = [encoder.select(side, torch.arange(count)) for side in sides]
    numbers = batch.document_ids[:count]
    return Batch(*sides, batch.positive[:count], numbers, numbers[:, None], batch.task[:count])


def one_step(encoder, loss, batch, chunk_tokens, device):
    with autocast(device):
        value = cached_step.cached_loss(encoder, loss, batch, chunk_tokens=chunk_tokens)
    value.backward()
    encoder.zero_grad(set_to_none=True)
    return float(value.detach())


def chunk_sizes(encoder, folder, device, sizes):
    """Tokens a second and memory of a few chunks, for each (chunk_tokens, checkpointing)."""
    loss = InfoNCE(0.02)
    batch = make_batch(encoder, max(8, max(size for size, _ in sizes) // 100), device=device)
    encoder.train()
    one_step(encoder, loss, some_rows(encoder, batch, 2 * sizes[-1][0]), sizes[-1][0], device)
    rows = []
    for size, checkpointing in sizes:
        checkpointed(encoder, checkpointing)
        clean()
        part = some_rows(encoder, batch, 3 * size)
        figure = {"chunk_tokens": size, "checkpointing": checkpointing}
        try:
            synchronize()
            start = time.perf_counter()
            one_step(encoder, loss, part, size, device)
            synchronize()
            seconds = time.perf_counter() - start
            tokens = counted(part)["tokens"]
            executed = flops(folder, part)["executed"]
            figure |= {
                "tokens": tokens, "tokens_per_second": round(tokens / seconds), "peak_gib": peak_gib(),
                "hardware_utilisation_without_checkpointing_flops": round(executed / seconds / PEAK, 3),
            }  # fmt: skip
        except torch.OutOfMemoryError:
            figure["out_of_memory"] = True
        rows.append(figure)
        print(figure, flush=True)
    checkpointed(encoder, False)
    clean()
    return rows


def best_size(rows, free_gib):
    """The fastest of the sizes that leaves `free_gib` for what grows with the batch."""
    total = torch.cuda.get_device_properties(0).total_memory / GIB if torch.cuda.is_available() else float("inf")
    fitting = [row for row in rows if "tokens" in row and (row["peak_gib"] or 0) + free_gib < total]
    return max(fitting, key=lambda row: row["tokens_per_second"])


def whole_step(encoder, folder, device, setting, *, queries, negatives, chosen, at_most_seconds):
    """One step with AdamW's update. The batch is cut where the warm-up says that it would take too long."""
    loss = InfoNCE(0.02)
    encoder.train()
    checkpointed(encoder, chosen["checkpointing"])
    batch = make_batch(encoder, queries, negatives, device=device)
    expected = counted(batch)["tokens"] / chosen["tokens_per_second"]
    asked = queries
    if expected > at_most_seconds:
        queries = int(queries * at_most_seconds / expected) // 16 * 16
        batch = make_batch(encoder, queries, negatives, device=device)
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=1e-4)
    clean()
    with timed_phases(encoder) as (seconds, peaks):
        start = time.perf_counter()
        with autocast(device):
            value = cached_step.cached_loss(encoder, loss, batch, chunk_tokens=chosen["chunk_tokens"])
        value.backward()
        optimizer.step()
        synchronize()
        took = time.perf_counter() - start
    encoder.zero_grad(set_to_none=True)
    checkpointed(encoder, False)
    counts, computed = counted(batch), flops(folder, batch)
    executed = computed["executed"] * (4 / 3 if chosen["checkpointing"] else 1)
    figure = {
        "setting": setting, **counts, "queries_asked_for": asked, "chunk_tokens": chosen["chunk_tokens"],
        "checkpointing": chosen["checkpointing"], "seconds": round(took, 2),
        "tokens_per_second": round(counts["tokens"] / took), "peak_gib": max(peaks.values()) or None,
        "model_flops": computed["model"], "executed_flops": executed,
        "mfu": round(computed["model"] / took / PEAK, 3), "hfu": round(executed / took / PEAK, 3),
        "phase_seconds": {name: round(value, 2) for name, value in seconds.items()}, "phase_peak_gib": peaks,
        "loss": round(float(value.detach()), 4),
    }  # fmt: skip
    print(figure, flush=True)
    clean()
    return figure
