"""Rows and derivatives on a CUDA device: torch tensors in, addresses to ``_cuda``, tensors out.

A tensor's memory is used where it is, on the current stream of its device. Host arrays are copied
to the device once, and only when ``device="cuda"`` asks for it.
"""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from dprune import _cuda
from dprune.backend import is_cuda
from dprune.bfloat16 import BFloat16Rows
from dprune.design import Float64
from dprune.factored import FactoredRows
from dprune.head import LastLayer
from dprune.sources import Source

if TYPE_CHECKING:
    import torch

_DTYPES = ("float32", "bfloat16")


def machine_of(x: Any) -> _cuda.Machine:
    """The device and current stream of a tensor; the current device for host arrays."""
    torch = sys.modules.get("torch")
    if is_cuda(x):
        stream = torch.cuda.current_stream(x.device)  # type: ignore[union-attr]
        return _cuda.DeviceMachine(x.device.index, stream.cuda_stream)
    if torch is not None and torch.cuda.is_available():
        device = torch.cuda.current_device()
        return _cuda.DeviceMachine(device, torch.cuda.current_stream(device).cuda_stream)
    return _cuda.DeviceMachine(0)


class DeviceSource(Source):
    """A matrix, or factors, in a device's memory: every pass over S runs there.

    Parameters
    ----------
    store : _cuda.ChainRows
    dtype : str
    device : str
    head : LastLayer or None
    threads : int
    memory : list
        What has to live as long as the store: tensors, copies of arrays.
    """

    solver = _cuda.Solver

    def __init__(
        self,
        store: _cuda.ChainRows,
        dtype: str,
        device: str,
        head: LastLayer | None,
        threads: int,
        memory: list[Any],
    ) -> None:
        self.dtype = dtype
        self.device = device
        self._rows = store
        self._memory = memory
        super().__init__(store, store.squared_norms(), head, threads)
        # Now, not beside the search: a machine takes one call at a time.
        self._hash = None if head is not None else self._hash_rows()

    def dots(self, v: Float64) -> Float64:
        """Inner products of all rows with v, (n,) float64."""
        return self._rows.dots(np.ascontiguousarray(v))

    def weighted_sum(self, weights: Float64) -> Float64:
        """Sum of the rows times these weights, (N,) float64."""
        return self._rows.weighted_sum(np.ascontiguousarray(weights))

    def mean_square_columns(self) -> Float64:
        """Mean square of each column, (N,) float64."""
        return np.asarray(self._rows.square_columns() / self.n)

    def fingerprint(self) -> str:
        """SHA-256 of the data set where the rows carry a head, else of hashes of the rows."""
        return super().fingerprint() if self._hash is None else self._hash

    def _hash_rows(self) -> str:
        """The rows' hashes are made on the device: S itself never leaves it."""
        digest = hashlib.sha256(f"dprune row hashes {self.n} {self.width} {self.dtype}".encode())
        digest.update(self._rows.hashes().data)
        return digest.hexdigest()


def device_source(S: Any, head: LastLayer | None, threads: int) -> DeviceSource:
    """S on the device where it lives, or copied to one.

    Raises
    ------
    TypeError
        If S is not float32 or bfloat16: nothing is cast in silence.
    ValueError
        If S is not a contiguous matrix.
    MemoryError
        If the device's memory does not suffice; the message says for what, and how much.
    """
    if isinstance(S, FactoredRows):
        machine = machine_of(S.b)
        b, a = (_placed(machine, factor) for factor in (S.b, S.a))
        n, k = S.b.shape
        factored = _cuda.FactoredRows(machine, b[0], a[0], n, k, S.a.shape[1])
        return DeviceSource(
            factored, "float32 factors", _device(S.b), head, threads, [S, b[1], a[1]]
        )
    numbers = S.bits if isinstance(S, BFloat16Rows) else S
    if not is_cuda(S):
        numbers = np.asarray(numbers)
    dtype = "bfloat16" if isinstance(S, BFloat16Rows) else str(numbers.dtype).split(".")[-1]
    if dtype not in _DTYPES:
        raise TypeError(f"S must be {' or '.join(_DTYPES)} on a CUDA device, found {dtype}")
    if numbers.ndim != 2 or 0 in numbers.shape:
        raise ValueError(
            f"S must have 2 dimensions (n, N), not empty, found shape {tuple(numbers.shape)}"
        )
    machine = machine_of(S)
    address, memory = _placed(machine, numbers)
    dense = _cuda.DenseRows(machine, address, numbers.shape[0], numbers.shape[1], dtype)
    return DeviceSource(dense, dtype, _device(S), head, threads, [memory])


def last_layer_gradients(
    features: torch.Tensor,
    probabilities: torch.Tensor,
    labels: torch.Tensor,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Per-sample gradients on the device of the features; see :func:`dprune.last_layer_gradients`.

    float32 or bfloat16; ``out`` may be of the other type.
    """
    import torch

    n, d = features.shape
    if probabilities.shape[0] != n or probabilities.ndim != 2:
        raise ValueError(
            f"probabilities must have shape ({n}, C), found {tuple(probabilities.shape)}"
        )
    classes = probabilities.shape[1]
    if out is None:
        out = torch.empty((n, classes * (d + 1)), dtype=features.dtype, device=features.device)
    y = torch.as_tensor(labels, dtype=torch.int64, device=features.device).contiguous()
    if y.shape != (n,):
        raise ValueError(f"labels must have shape ({n},), found {tuple(y.shape)}")
    if n > 0 and not bool(((y >= 0) & (y < classes)).all()):
        raise ValueError(
            f"labels must lie in 0..{classes - 1}, found {int(y.min())}..{int(y.max())}"
        )
    if tuple(out.shape) != (n, classes * (d + 1)):
        raise ValueError(f"out must have shape {(n, classes * (d + 1))}, found {tuple(out.shape)}")
    tensors = {"features": features, "probabilities": probabilities, "out": out}
    for name, tensor in tensors.items():
        if str(tensor.dtype).removeprefix("torch.") not in _DTYPES:
            raise TypeError(f"{name} must be {' or '.join(_DTYPES)}, found {tensor.dtype}")
        if tensor.device != features.device:
            raise ValueError(f"{name} must be on {features.device}, found {tensor.device}")
        if not tensor.is_contiguous():
            raise TypeError(f"{name} must be contiguous, found strides {tensor.stride()}")
    if probabilities.dtype != features.dtype:
        raise TypeError(
            f"probabilities must have the dtype of features, {features.dtype}, found "
            f"{probabilities.dtype}"
        )
    dtypes = [str(tensor.dtype).removeprefix("torch.") for tensor in (features, out)]
    _cuda.outer_rows(
        machine_of(features),
        probabilities.data_ptr(),
        features.data_ptr(),
        dtypes[0],
        y.data_ptr(),
        True,
        out.data_ptr(),
        dtypes[1],
        n,
        classes,
        d,
    )
    return out


def softmax_curvature(
    probabilities: torch.Tensor, weights: torch.Tensor | None, values: torch.Tensor
) -> None:
    """``values <- w_i (diag p_i - p_i p_i^T) values`` in place; the twin of the core's.

    Contiguous tensors of one dtype, float32 or float64: (n, C), (n,), (n, vectors C).
    """
    n, classes = probabilities.shape
    _cuda.softmax_curvature(
        machine_of(values),
        probabilities.data_ptr(),
        None if weights is None else weights.data_ptr(),
        values.data_ptr(),
        str(values.dtype).removeprefix("torch."),
        n,
        classes,
        values.shape[1] // classes,
    )


def _placed(machine: _cuda.Machine, x: Any) -> tuple[int, Any]:
    """Address in the device's memory, and what keeps it alive."""
    if is_cuda(x):
        x = x.detach()
        if not x.is_contiguous():
            raise ValueError(
                f"S must be contiguous on a CUDA device, found strides {x.stride()}; "
                "pass S.contiguous()"
            )
        return x.data_ptr(), x
    memory = _cuda.Memory(machine, np.ascontiguousarray(x).data)
    return memory.address, memory


def _device(x: Any) -> str:
    return str(x.device) if is_cuda(x) else "cuda"
