"""What a plan is made of: an encoder, what it reads, how it is trained, and where."""

from __future__ import annotations

from dataclasses import dataclass

from lit_mmembed.training.devices import Device
from lit_mmembed.training.planned_encoder import FULL, HALF, PlannedEncoder
from lit_mmembed.training.workload import Kind, Workload


@dataclass(frozen=True)
class Settings:
    """What a fit's configuration says beside its encoder."""

    batch_size: int
    """Queries of a step, over all GPUs."""
    negatives: int
    """Mined negatives of a query."""
    chunk_tokens: int | None
    """Token budget of a cached step's chunk; None is the plain step."""
    epochs: float | None
    steps: int | None
    """Where the run ends, whatever comes first."""
    precision: str
    strategy: str
    encode_rows: int
    """Rows of a batch when embedding, at most."""
    encode_tokens: int | None = None
    """Tokens of a batch when embedding, at most."""


@dataclass(frozen=True)
class Machine:
    """Where it runs."""

    device: Device
    gpus: int
    mfu: float
    """Share of the peak that the executed FLOPs reach."""

    def seconds(self, flops: float, precision: str) -> float:
        """Time of this many FLOPs, split over all GPUs."""
        return flops / (self.gpus * self.device.peak_in(precision) * self.mfu)


@dataclass(frozen=True)
class Fit:
    """One fit, ready for arithmetic."""

    encoder: PlannedEncoder
    workload: Workload
    settings: Settings
    machine: Machine

    @property
    def value_bytes(self) -> int:
        """Bytes of an activation."""
        return FULL if self.encoder.frozen_bytes == FULL and self.settings.precision.startswith("32") else HALF

    @property
    def precision(self) -> str:
        """What matrices are multiplied in."""
        return "32-true" if self.value_bytes == FULL else "16"

    @property
    def step(self) -> tuple[Kind, ...]:
        """The rows of a step, over all GPUs."""
        return self.workload.step(self.settings.batch_size, self.settings.negatives)
