"""The table of GPUs: by name, and by what a driver calls them."""

from __future__ import annotations

import pytest

from lit_mmembed.errors import InputError
from lit_mmembed.training.devices import GIB, device, device_called


def test_gpus_are_known_by_their_drivers_names():
    assert device_called("NVIDIA A100-SXM4-80GB") is device("a100")
    assert device_called("NVIDIA H100 80GB HBM3") is device("H100")
    assert device_called("NVIDIA H200") is device("h200")
    assert device_called("NVIDIA H100 PCIe") is None and device_called("Tesla T4") is None
    assert device("h200").memory > device("h100").memory > 75 * GIB
    with pytest.raises(InputError, match="rtx"):
        device("rtx")
