"""The one place that chooses where native code runs."""

from __future__ import annotations


def cuda_devices() -> list[str]:
    """Names of the CUDA devices that can be used; empty without the module, driver or device."""
    try:
        from dprune import _cuda
    except ImportError:
        return []
    return [device.name for device in _cuda.devices()]


def check_device(device: str | None) -> None:
    """Accept None and "cpu"; anything else is an error that says what is missing.

    Nothing falls back in silence.
    """
    if device is None or device == "cpu":
        return
    if device != "cuda":
        raise ValueError(f"device must be None, 'cpu' or 'cuda', found {device!r}")
    if not cuda_devices():
        raise RuntimeError("device='cuda' was asked for, found no usable CUDA device")
    raise NotImplementedError("device='cuda': the solvers do not run on a GPU yet; use 'cpu'")
