"""Parameters that a process's batch does not use, where another's does: DDP waits for a gradient of each from all."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from lit_mmembed.losses.gather import process_count


def idle(parameters: Iterable[nn.Parameter]) -> Tensor | float:
    """Return a zero that depends on each parameter that is trained; with one process, where none waits, a number."""
    if process_count() == 1:
        return 0.0
    return sum((parameter.sum() * 0.0 for parameter in parameters if parameter.requires_grad), start=0.0)
