"""Memory and time of a fit before it is started: arithmetic from shapes (`encoders.costs`); docs/plan.md derives it."""

from __future__ import annotations

from lit_mmembed.encoders.costs import Part, activations, trained_inputs
from lit_mmembed.training.planned_encoder import FULL, HALF, PlannedEncoder
from lit_mmembed.training.planned_fit import Fit
from lit_mmembed.training.workload import Kind
from lit_mmembed.types import Side

RESERVED = 0.08
"""Share of a GPU's memory that is left to CUDA's context, kernels and the allocator."""
ADAM = 8
"""Bytes of AdamW's two moments of a weight, in fp32."""
SHARDED: dict[str, tuple[str, ...]] = {
    "deepspeed_stage_1": ("optimizer",),
    "deepspeed_stage_2": ("optimizer", "gradients"),
    "deepspeed_stage_3": ("optimizer", "gradients", "weights"),
    "fsdp": ("optimizer", "gradients", "weights"),
}
"""What a strategy splits over the GPUs; every other one (DDP) keeps a whole copy on each."""


def tokens(encoder: PlannedEncoder, kinds: tuple[Kind, ...]) -> dict[str, float]:
    """Count rows, images, all tokens and image tokens."""
    images = sum(kind.count * kind.images for kind in kinds)
    image_tokens = images * (encoder.image_tokens or encoder.patches * encoder.tiles)
    return {
        "rows": sum(kind.count for kind in kinds),
        "images": images,
        "tokens": sum(kind.count * encoder.length(kind) for kind in kinds),
        "image_tokens": image_tokens,
        "longest_row": max((encoder.length(kind) for kind in kinds), default=0),
    }


def parameters(encoder: PlannedEncoder) -> dict[str, float]:
    """Count weights by part, all of them, those that are trained, and their share."""
    counts: dict[str, float] = {name: part.parameters for name, part in encoder.parts.items()}
    total, trained = sum(counts.values()), sum(counts[name] for name in encoder.trained)
    return {**counts, "total": total, "trainable": trained, "share": trained / total}


def step_flops(fit: Fit) -> dict[str, float]:
    """Count the FLOPs of a step over all GPUs, once each and as often as they are executed.

    `model`: one forward and one backward pass. `executed` adds the cached step's first forward pass, which a part
    without gradient does not need again, and what gradient checkpointing repeats.
    """
    encoder, settings = fit.encoder, fit.settings
    forward = backward = executed = 0.0
    for part in encoder.parts.values():
        cost = part.forward(encoder.rows(part, fit.step))
        forward += cost.total
        if not encoder.passes_gradient(part):
            executed += cost.total
            continue
        back = cost.backward(weight_passes=2 if part.name in encoder.trained else 1)
        backward += back
        repeated = encoder.checkpointing and part.name in ("language model", "adapters")
        executed += cost.total * (1 + (settings.chunk_tokens is not None) + repeated) + back
    return {"forward": forward, "backward": backward, "model": forward + backward, "executed": executed}


def encoding_flops(encoder: PlannedEncoder, kinds: tuple[Kind, ...]) -> float:
    """Count the FLOPs of embedding rows."""
    return sum(part.forward(encoder.rows(part, kinds)).total for part in encoder.parts.values())


def chunk_activations(fit: Fit, chunk_tokens: int | None, *, checkpointing: bool) -> float:
    """Return the bytes that a chunk keeps for its backward pass; the plain step is one chunk of a GPU's rows.

    Args:
        fit: The fit.
        chunk_tokens: The budget; None is the plain step.
        checkpointing: Keep the language model's layers' inputs only, and all of one layer at a time.
    """
    encoder, per_gpu = fit.encoder, 1 / fit.machine.gpus
    local = tuple(kind.times(per_gpu) for kind in fit.step)
    share = min(1.0, (chunk_tokens or float("inf")) / max(tokens(encoder, local)["tokens"], 1))
    total = 0.0
    for part in encoder.parts.values():
        if not encoder.passes_gradient(part):
            continue
        count = share * sum(rows.count * rows.length for rows in encoder.rows(part, local))
        total += count * part.values * fit.value_bytes
        if part.blocks is None:
            continue
        whole = _layer(fit, part) * count
        inputs = part.blocks.width * fit.value_bytes * count
        total += part.blocks.run * inputs + whole if checkpointing else part.blocks.run * whole
    return total


def memory(fit: Fit, chunk_tokens: int | None, *, checkpointing: bool) -> dict[str, float]:
    """Return the bytes on each GPU by what they hold, and their sum."""
    encoder, settings, gpus = fit.encoder, fit.settings, fit.machine.gpus
    split = SHARDED.get(settings.strategy, ())
    counts = {name: part.parameters for name, part in encoder.parts.items()}
    trained = sum(counts[name] for name in encoder.trained)
    own = HALF if settings.precision in ("bf16-true", "16-true") else FULL
    copies = HALF if "mixed" in settings.precision else 0  # autocast keeps a half copy of each trained weight
    frozen = sum(n * min(own, encoder.stored_bytes(name)) for name, n in counts.items() if name not in encoder.trained)
    weights = frozen + trained * (own + copies)
    held = trained * own * (1 if settings.chunk_tokens is None else 2)  # a cached step: the sums, and a chunk's own
    found = {
        "weights": weights / (gpus if "weights" in split else 1),
        "gradients": held / (gpus if "gradients" in split else 1),
        "optimizer": trained * ADAM * own / FULL / (gpus if "optimizer" in split else 1),
        "activations": chunk_activations(fit, chunk_tokens, checkpointing=checkpointing),
        **_cached(fit),
    }
    return {**found, "total": sum(found.values())}


def encoding_memory(fit: Fit) -> dict[str, float]:
    """Return the bytes on each GPU when embedding: weights, one layer's values of a batch's rows, their pixels."""
    encoder, settings = fit.encoder, fit.settings
    longest = tokens(encoder, fit.workload.pool)["longest_row"]
    batch = min(settings.encode_rows * longest, settings.encode_tokens or float("inf"))
    weights = sum(part.parameters * encoder.stored_bytes(name) for name, part in encoder.parts.items())
    layers = [activations(part.blocks, value_bytes=fit.value_bytes) for part in encoder.parts.values() if part.blocks]
    found = {
        "weights": weights,
        "one layer": batch * max(layers),
        "pixels": settings.encode_rows * encoder.pixel_bytes,
    }
    return {**found, "total": sum(found.values())}


def run_time(fit: Fit) -> dict[str, float]:
    """Return seconds of a step, steps of the run, and hours of the run and of embedding the pool."""
    flops = step_flops(fit)["executed"]
    seconds = fit.machine.seconds(flops, fit.precision)
    per_epoch = max(1, int(fit.workload.epoch) // fit.settings.batch_size)
    epochs = fit.settings.epochs
    ends = [fit.settings.steps, None if epochs is None else int(per_epoch * epochs)]
    steps = min((end for end in ends if end is not None), default=per_epoch)
    pool = fit.machine.seconds(encoding_flops(fit.encoder, fit.workload.pool), fit.precision)
    return {
        "seconds_per_step": seconds,
        "steps_per_epoch": per_epoch,
        "steps": steps,
        "run_hours": seconds * steps / 3600,
        "pool_hours": pool / 3600,
    }


def index(fit: Fit) -> dict[str, float]:
    """Return documents of the pool, and the bytes of their vectors in a store (fp16) and in fp32."""
    documents = fit.workload.pool_size
    values = documents * fit.encoder.dimension
    return {"documents": documents, "dimension": fit.encoder.dimension, "fp16": values * HALF, "fp32": values * FULL}


def largest_chunk(fit: Fit, *, checkpointing: bool) -> int | None:
    """Return the largest power of two of tokens whose chunk fits, or None; not below the longest row."""
    longest = tokens(fit.encoder, fit.step)["longest_row"]
    budget = 1 << 17
    while budget >= longest:
        if fits(fit, memory(fit, budget, checkpointing=checkpointing)):
            return budget
        budget //= 2
    return None


def fits(fit: Fit, needed: dict[str, float]) -> bool:
    """Say whether this much fits into a GPU, the reserve left free."""
    return needed["total"] <= fit.machine.device.memory * (1 - RESERVED)


def _layer(fit: Fit, part: Part) -> int:
    """Bytes that one layer of a part keeps of each token."""
    assert part.blocks is not None
    kept = activations(part.blocks, value_bytes=fit.value_bytes)
    if part.name in fit.encoder.trained or "adapters" in fit.encoder.trained:
        return kept + trained_inputs(part.blocks, value_bytes=fit.value_bytes)
    return kept


def _cached(fit: Fit) -> dict[str, float]:
    """Bytes on each GPU of what lasts for a whole step: vectors, scores, the vision tower's features, pixels."""
    encoder, gpus, settings = fit.encoder, fit.machine.gpus, fit.settings
    counted = tokens(encoder, fit.step)
    documents = sum(kind.count for kind in fit.step if kind.side is Side.CANDIDATE)
    vectors = (2 * counted["rows"] / gpus + documents) * encoder.dimension * FULL  # each with its gradient; gathered
    scores = 3 * settings.batch_size / gpus * documents * FULL
    images = counted["images"] / gpus
    tower = encoder.parts.get("vision tower")
    features = 0.0
    if settings.chunk_tokens is not None and tower and tower.blocks and not encoder.passes_gradient(tower):
        features = images * encoder.tiles * (encoder.patches - 1) * tower.blocks.width * fit.value_bytes
    return {"vectors": vectors + scores, "vision features": features, "pixels": images * encoder.pixel_bytes}
