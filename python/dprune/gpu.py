"""Rows and derivatives on a CUDA device: torch tensors in, addresses to ``_cuda``, tensors out.

A tensor's memory is used where it is, on the current stream of its device. Host arrays are copied
to the device once, and only when ``device="cuda"`` asks for it.
"""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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
# Share of the free memory that turned rows may take; numbers converted to float32 at once.
_TURNED_SHARE = 0.5
_NUMBERS = 1 << 28


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
    machine : _cuda.Machine
    store : _cuda.ChainRows
    parts : tuple
        The matrix, or the factors, as given: tensors on the device, or host arrays.
    dtype : str
    head : LastLayer or None
    threads : int
    memory : list
        What has to live as long as the store: copies of arrays.
    """

    solver = _cuda.Solver
    # At a guess, a tenth of what data-centre GPUs do.
    reading = 1e11
    multiplying = 2e12

    def __init__(
        self,
        machine: _cuda.Machine,
        store: _cuda.ChainRows,
        parts: tuple[Any, ...],
        dtype: str,
        head: LastLayer | None,
        threads: int,
        memory: list[Any],
    ) -> None:
        self.dtype = dtype
        self.device = str(parts[0].device) if is_cuda(parts[0]) else "cuda"
        self.factored = len(parts) == 2
        self._machine = machine
        self._given = parts
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

    @property
    def may_turn(self) -> bool:  # type: ignore[override]
        """Whether the device's memory suffices."""
        numbers = self.n * sum(part.shape[1] for part in self._given)
        return bool(4 * numbers <= _TURNED_SHARE * self._machine.free_bytes)

    def take(self, rows: Any) -> tuple[Any, ...]:
        """Some rows in float32, or their factors: tensors where S is one."""
        some = (part[rows] for part in self._given)
        return tuple(x.float() if is_cuda(x) else np.asarray(x, dtype=np.float32) for x in some)

    def turned(self, *matrices: npt.NDArray[np.float32]) -> _cuda.ChainRows:
        """A store of the rows times a matrix, or of their factors times one each."""
        if matrices[0].ndim == 1:
            assert isinstance(self._rows, _cuda.DenseRows)
            return _cuda.ScaledRows(self._rows, matrices[0])
        products = [
            _times(self._machine, part, matrix)
            for part, matrix in zip(self._given, matrices, strict=True)
        ]
        self._memory += [memory for _, memory in products]
        if not self.factored:
            return _cuda.DenseRows(self._machine, products[0][0], self.n, self.width, "float32")
        b, a = matrices
        return _cuda.FactoredRows(
            self._machine, products[0][0], products[1][0], self.n, len(b), len(a)
        )

    def eigh(self, matrix: Float64) -> tuple[Float64, Float64]:
        """Eigenvalues, ascending, and vectors of a symmetric matrix."""
        if not is_cuda(self._given[0]):
            return super().eigh(matrix)
        import torch

        values, vectors = torch.linalg.eigh(torch.from_numpy(matrix).to(self.device))
        return values.cpu().numpy(), vectors.cpu().numpy()

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
            machine, factored, (S.b, S.a), "float32 factors", head, threads, [b[1], a[1]]
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
    return DeviceSource(machine, dense, (S,), dtype, head, threads, [memory])


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


def _times(machine: _cuda.Machine, x: Any, matrix: npt.NDArray[np.float32]) -> tuple[int, Any]:
    """``x`` times a matrix in float32: its address in the device's memory, what keeps it alive."""
    if not is_cuda(x):
        return _placed(machine, np.asarray(x, dtype=np.float32) @ matrix)
    import torch

    right = torch.from_numpy(matrix).to(x.device)
    out = torch.empty((len(x), right.shape[1]), dtype=torch.float32, device=x.device)
    step = max(1, _NUMBERS // x.shape[1])
    for start in range(0, len(x), step):
        block = x[start : start + step].float()
        # Not torch's product, which a training script may have set to TF32.
        _cuda.product(
            machine,
            "float32",
            False,
            False,
            len(block),
            right.shape[1],
            right.shape[0],
            block.data_ptr(),
            right.data_ptr(),
            out[start:].data_ptr(),
        )
    return out.data_ptr(), out
