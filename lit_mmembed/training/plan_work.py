"""What a stage costs: GPU-hours by what they go into, bytes that it leaves, bytes that it needs meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lit_mmembed.training.plan import encoding_flops
from lit_mmembed.training.planned_encoder import FULL, HALF, PlannedEncoder
from lit_mmembed.training.planned_fit import Machine
from lit_mmembed.training.published import Need
from lit_mmembed.training.workload import Kind

SECONDS = 3600


class Span(NamedTuple):
    """GPU time of one kind."""

    gpu_hours: float
    """Summed over GPUs."""
    gpus: int
    """How many share it."""
    flops: float

    @property
    def wall_hours(self) -> float:
        """How long it takes."""
        return self.gpu_hours / self.gpus


@dataclass(frozen=True)
class Work:
    """The cost of a stage."""

    time: Mapping[str, Span] = field(default_factory=dict)
    """By what it goes into: training, embedding, search, questions."""
    disk: Mapping[str, float] = field(default_factory=dict)
    """Bytes that are left, by file or folder."""
    scratch: float = 0.0
    """Bytes that are there while it runs and are removed."""
    needs: tuple[Need, ...] = ()
    counts: Mapping[str, float] = field(default_factory=dict)
    """Queries, documents, questions, tokens."""
    assumptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] | None = None
    """The plan of the fit, or of embedding, as `plan_summary` has it."""

    @property
    def gpu_hours(self) -> float:
        """Summed over GPUs and kinds."""
        return sum(span.gpu_hours for span in self.time.values())

    @property
    def wall_hours(self) -> float:
        """How long all of it takes, one kind after another."""
        return sum(span.wall_hours for span in self.time.values())

    @property
    def left(self) -> float:
        """Bytes that are left."""
        return sum(self.disk.values())

    @property
    def gpus(self) -> int:
        """How many GPUs the longest part of it uses; 0 where it needs none."""
        longest = max(self.time.values(), key=lambda span: span.wall_hours, default=None)
        return longest.gpus if longest and longest.gpu_hours else 0


def computing(flops: float, machine: Machine, precision: str, *, gpus: int | None = None) -> Span:
    """Return the time of matrix products.

    Args:
        flops: How many, over all GPUs.
        machine: Where.
        precision: Lightning's name of the precision.
        gpus: How many GPUs share them; None: all of the machine.
    """
    seconds = flops / (machine.device.peak_in(precision) * machine.mfu)
    return Span(seconds / SECONDS, machine.gpus if gpus is None else gpus, flops)


def embedding(
    encoder: PlannedEncoder, rows: tuple[Kind, ...], machine: Machine, *, precision: str = "16", gpus: int | None = None
) -> Span:
    """Return the time of embedding rows; a backbone in half precision computes in it, whatever is asked for."""
    exact = precision.startswith("32") and encoder.frozen_bytes == FULL
    return computing(encoding_flops(encoder, rows), machine, "32-true" if exact else "16", gpus=gpus)


def searching(pairs: float, dimension: int, machine: Machine) -> Span:
    """Return the time of exact search, 2 D FLOPs a pair of a query and a document, in fp32 on every GPU."""
    flops = 2.0 * pairs * dimension
    return Span(flops / (machine.device.exact * machine.mfu) / SECONDS, machine.gpus, flops)


def downloaded(name: str, weights: float) -> Need:
    """Return the need of a checkpoint in 16 bits."""
    return Need(name, weights * HALF, f"{weights / 1e9:.2f} G weights of its config.json, 2 bytes each")
