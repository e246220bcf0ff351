"""Every operation is tested on the CPU in the device's place, and on a device if there is one."""

from __future__ import annotations

import numpy as np
import pytest

_cuda = pytest.importorskip("dprune._cuda", reason="built without CUDA")


@pytest.fixture(params=["host", "host, 3 lanes", "device"])
def machine(request):
    """Where operations run; 3 lanes are threads that meet at barriers."""
    if request.param == "host":
        return _cuda.HostMachine()
    if request.param == "host, 3 lanes":
        return _cuda.HostMachine(lanes=3)
    if not _cuda.devices():
        pytest.skip("no CUDA device")
    pytest.importorskip("torch")  # brings cuBLAS
    return _cuda.DeviceMachine(0)


def to_bfloat16(x):
    """Nearest bfloat16 numbers, ties to even: their bits, and their values in float32."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    upper = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return upper, (upper.astype(np.uint32) << 16).view(np.float32)
