"""The one place that chooses where native code runs."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def cuda_devices() -> list[str]:
    """Names of the CUDA devices that can be used; empty without the module, driver or device."""
    try:
        from dprune import _cuda
    except ImportError:
        return []
    return [device.name for device in _cuda.devices()]


def check_device(device: str | None) -> None:
    """Accept None, "cpu", and "cuda" where there is a device; else say what is missing.

    Nothing falls back in silence.
    """
    if device is None or device == "cpu":
        return
    if device != "cuda":
        raise ValueError(f"device must be None, 'cpu' or 'cuda', found {device!r}")
    if not cuda_devices():
        raise RuntimeError("device='cuda' was asked for, found no usable CUDA device")


def is_cuda(x: Any) -> bool:
    """Whether x is a torch tensor on a CUDA device."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor) and bool(x.device.type == "cuda")


def to_host(x: Any) -> Any:
    """The NumPy array of an array or tensor, bfloat16 as float32; a device's numbers are copied."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor):
        return np.asarray(x)
    return (x.float() if x.dtype == torch.bfloat16 else x).detach().cpu().numpy()


def on_cuda(x: Any, device: str | None) -> bool:
    """Whether to work on x on a CUDA device: where it lives, or where ``device`` says.

    Raises
    ------
    ValueError
        If it would have to leave its device: that is the caller's to do.
    """
    if device == "cpu" and is_cuda(x):
        raise ValueError(f"device='cpu' was asked for, found a tensor on {x.device}; pass x.cpu()")
    return device == "cuda" or is_cuda(x)
