"""What GPUs can do by their data sheets: the peak that a plan and the throughput of a run are measured against."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lit_mmembed.errors import InputError

GIB = 1 << 30


@dataclass(frozen=True)
class Device:
    """One kind of GPU."""

    name: str
    pattern: str
    """Matches what the driver calls it."""
    peak: float
    """FLOP/s in bf16, dense, with fp32 accumulation."""
    memory: float
    """Bytes that a process sees."""
    exact: float
    """FLOP/s in fp32 without tensor cores: what exact search multiplies with."""

    def peak_in(self, precision: str) -> float:
        """FLOP/s in Lightning's precision: half of the peak in fp32, which multiplies matrices in TF32."""
        return self.peak / 2 if precision.startswith("32") else self.peak


DEVICES = (
    Device("a100", r"A100.*80GB", 312e12, 79 * GIB, 19.5e12),
    Device("h100", r"H100(?!.*(PCIe|NVL))", 989e12, 79 * GIB, 67e12),
    Device("h200", r"H200(?!.*NVL)", 989e12, 139 * GIB, 67e12),
)
"""SXM modules; the PCIe and NVL cards of the same names are slower and not known."""


def device(name: str) -> Device:
    """Return the GPU of this name.

    Raises:
        InputError: it is not in the table.
    """
    for known in DEVICES:
        if known.name == name.lower():
            return known
    fix = f"one of {', '.join(known.name for known in DEVICES)}"
    raise InputError(f"the GPU {name!r} is not known", fix=fix)


def device_called(driver_name: str) -> Device | None:
    """Return the GPU that the driver calls so ("NVIDIA H100 80GB HBM3"), or None."""
    return next((known for known in DEVICES if re.search(known.pattern, driver_name)), None)
