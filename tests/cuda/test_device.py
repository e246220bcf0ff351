"""The CUDA module imports everywhere and lists what there is."""

from __future__ import annotations

import subprocess
import sys

import pytest

_cuda = pytest.importorskip("dprune._cuda", reason="built without CUDA")


def test_import_is_silent():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "from dprune import _cuda; _cuda.devices()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_devices():
    devices = _cuda.devices()
    if not devices:
        pytest.skip("no CUDA device")
    for device in devices:
        assert device.name
        assert device.major >= 7
        assert device.memory_bytes > 2**30
        assert device.multiprocessors > 0
