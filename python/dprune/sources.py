"""Where rows come from: the forms of S that prune() takes, as a solver store and float64 sums."""

from __future__ import annotations

import hashlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from dprune import _core
from dprune.backend import is_cuda, on_cuda
from dprune.bfloat16 import BFloat16Rows
from dprune.design import Float64
from dprune.factored import FactoredRows
from dprune.head import LastLayer
from dprune.influence_rows import InfluenceRows
from dprune.rowfile import is_mapped, open_rows

# Numbers converted to float64 at once.
_NUMBERS = 1 << 23
_STORES = {
    "float32": _core.DenseRows,
    "float16": _core.HalfRows,
    "bfloat16": _core.BFloat16Rows,
}
# Squared norms outside this range would leave float32 in the solver's inner products.
_LEAST_SQUARE, _LARGEST_SQUARE = 1e-34, 1e34


class Source(ABC):
    """S as given, for certificates, and as the store that the solver works on.

    Attributes
    ----------
    n, width : int
    store : _core.Rows, or its twin in _cuda
    solver : type
        The core's, or its twin in _cuda.
    device : str
        Where the solver runs.
    squared_norms : (n,) float64
    head : LastLayer or None
        Where influence rows came from.
    dtype : str
        Of the rows as given.
    working_copy : bool
        Whether the solver works on a float32 copy.
    factored : bool
    may_turn : bool
        Whether there is room for a float32 copy of the rows, or factors, turned.
    reading, multiplying : float
        Numbers and operations a second to count on.
    """

    dtype: str
    device = "cpu"
    working_copy = False
    factored = False
    may_turn = True
    reading = 2e9
    multiplying = 2e10
    solver: ClassVar[type[Any]] = _core.Solver

    def __init__(
        self, store: Any, squared_norms: Float64, head: LastLayer | None, threads: int
    ) -> None:
        self.store = store
        self.n: int = store.shape[0]
        self.width: int = store.shape[1]
        self.head = head
        self.threads = threads
        self.squared_norms = squared_norms
        bad = ~np.isfinite(squared_norms)
        if bad.any():
            raise ValueError(f"S must be finite, found NaN or Inf in row {int(bad.argmax())}")
        largest = float(squared_norms.max())
        if largest > _LARGEST_SQUARE or 0.0 < largest < _LEAST_SQUARE:
            raise ValueError(
                f"S must suit float32 arithmetic, found rows of norm {largest**0.5:.1e}; "
                "rescale S (and eps)"
            )

    def group_sums(self, labels: npt.NDArray[np.int64], groups: int) -> Float64:
        """Sum of the rows of each group, (groups, N) float64; label -1: in none."""
        sums = np.zeros((groups, self.width))
        self.store.add_groups(labels, sums, self.threads)
        return sums

    @abstractmethod
    def dots(self, v: Float64) -> Float64:
        """Inner products of all rows with v, (n,) float64."""
        ...

    @abstractmethod
    def weighted_sum(self, weights: Float64) -> Float64:
        """Sum of the rows times these weights, (N,) float64."""
        ...

    @abstractmethod
    def mean_square_columns(self) -> Float64:
        """Mean square of each column, (N,) float64."""
        ...

    @abstractmethod
    def take(self, rows: Any) -> tuple[Any, ...]:
        """Some rows in float32, where the solver runs: one matrix, or the two factors."""
        ...

    @abstractmethod
    def turned(self, *matrices: npt.NDArray[np.float32]) -> Any:
        """A store of the rows times an (N, N) matrix, or of their factors times one each.

        A vector of N stands for a diagonal matrix; the rows are not copied then.
        """
        ...

    def eigh(self, matrix: Float64) -> tuple[Float64, Float64]:
        """Eigenvalues, ascending, and vectors of a symmetric matrix."""
        return np.linalg.eigh(matrix)

    def fingerprint(self) -> str:
        """SHA-256 of the data set where the rows carry a head, else of the matrix."""
        if self.head is not None:
            return self.head.fingerprint
        digest = hashlib.sha256(f"dprune S {self.n} {self.width} {self.dtype}".encode())
        for part in self._parts():
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    def _parts(self) -> Iterator[npt.NDArray[Any]]:
        """The numbers as given, piece by piece."""
        raise NotImplementedError


class MatrixSource(Source):
    """A matrix that the core reads as it is: float32, float16 or bfloat16, in C order.

    In memory or mapped from a file: mapped rows are visited in the order of the file.
    """

    def __init__(
        self, S: npt.NDArray[Any] | BFloat16Rows, head: LastLayer | None, threads: int
    ) -> None:
        self._original = S
        self.dtype = str(S.dtype)
        numbers = S.bits if isinstance(S, BFloat16Rows) else S
        store = _STORES[self.dtype](
            numbers if numbers.dtype == np.float32 else numbers.view(np.uint16), is_mapped(numbers)
        )
        super().__init__(store, store.squared_norms(threads), head, threads)

    @property
    def may_turn(self) -> bool:  # type: ignore[override]
        """Rows in a file may not fit into memory."""
        S = self._original
        return not is_mapped(S.bits if isinstance(S, BFloat16Rows) else S)

    def take(self, rows: Any) -> tuple[Any, ...]:
        """Some of the rows, (count, N) float32."""
        return (np.ascontiguousarray(self._original[rows], dtype=np.float32),)

    def turned(self, *matrices: npt.NDArray[np.float32]) -> _core.Rows:
        """A store of the rows times a matrix."""
        (matrix,) = matrices
        if matrix.ndim == 1:
            return _core.ScaledRows(self.store, matrix)
        out = np.empty((self.n, self.width), dtype=np.float32)
        for rows in self._slices():
            np.matmul(self.take(rows)[0], matrix, out=out[rows])
        return _core.DenseRows(out, False)

    def dots(self, v: Float64) -> Float64:
        """Inner products of all rows with v, (n,) float64."""
        return np.concatenate([block @ v for block in self._float64_parts()])

    def weighted_sum(self, weights: Float64) -> Float64:
        """Sum of the rows times these weights, (N,) float64."""
        total = np.zeros(self.width)
        start = 0
        for block in self._float64_parts():
            total += weights[start : start + len(block)] @ block
            start += len(block)
        return total

    def mean_square_columns(self) -> Float64:
        """Mean square of each column, (N,) float64."""
        total = np.zeros(self.width)
        for block in self._float64_parts():
            total += np.einsum("ij,ij->j", block, block)
        return np.asarray(total / self.n)

    def _slices(self) -> Iterator[slice]:
        rows = max(1, _NUMBERS // self.width)
        for start in range(0, self.n, rows):
            yield slice(start, start + rows)

    def _parts(self) -> Iterator[npt.NDArray[Any]]:
        S = self._original
        numbers = S.bits if isinstance(S, BFloat16Rows) else S
        for rows in self._slices():
            yield numbers[rows]

    def _float64_parts(self) -> Iterator[Float64]:
        for rows in self._slices():
            yield np.ascontiguousarray(self._original[rows], dtype=np.float64)


class CopiedSource(MatrixSource):
    """A float64, Fortran-ordered or strided matrix.

    It is streamed into a float32 working copy, and all float64 sums run over the original.
    """

    working_copy = True

    def __init__(self, S: npt.NDArray[Any], head: LastLayer | None, threads: int) -> None:
        self._original = S
        self.dtype = str(S.dtype)
        self.n, self.width = S.shape
        copy = np.empty(S.shape, dtype=np.float32)
        for rows in self._slices():
            copy[rows] = S[rows]
        norms = [_core.squared_norms(block, threads) for block in self._float64_parts()]
        Source.__init__(self, _core.DenseRows(copy), np.concatenate(norms), head, threads)

    def group_sums(self, labels: npt.NDArray[np.int64], groups: int) -> Float64:
        """Sum of the rows of each group, (groups, N) float64; label -1: in none."""
        sums = np.zeros((groups, self.width))
        for rows, block in zip(self._slices(), self._float64_parts(), strict=True):
            _core.add_groups(block, labels[rows], sums, self.threads)
        return sums


class FactoredSource(Source):
    """Rows kept as factors."""

    dtype = "float32 factors"
    factored = True

    def __init__(self, S: FactoredRows, head: LastLayer | None, threads: int) -> None:
        self._factors = S
        store = _core.FactoredRows(S.b, S.a)
        super().__init__(store, store.squared_norms(threads), head, threads)

    def take(self, rows: Any) -> tuple[Any, ...]:
        """The factors of some rows."""
        return self._factors.b[rows], self._factors.a[rows]

    def turned(self, *matrices: npt.NDArray[np.float32]) -> _core.Rows:
        """A store of the factors times one matrix each."""
        b, a = (f @ matrix for f, matrix in zip(self.take(slice(None)), matrices, strict=True))
        return _core.FactoredRows(b, a)

    def dots(self, v: Float64) -> Float64:
        """Inner products of all rows with v, (n,) float64: ``b_i^T V a_i``."""
        matrix = v.reshape(self._factors.b.shape[1], -1)
        found = np.empty(self.n)
        for block in self._slices():
            b, a = self._float64(block)
            found[block] = np.einsum("ij,ij->i", b, a @ matrix.T)
        return found

    def weighted_sum(self, weights: Float64) -> Float64:
        """Sum of the rows times these weights, (N,) float64."""
        total = np.zeros(self.width)
        for block in self._slices():
            b, a = self._float64(block)
            total += ((b * weights[block, None]).T @ a).ravel()
        return total

    def mean_square_columns(self) -> Float64:
        """Mean square of each column, (N,) float64."""
        total = np.zeros(self.width)
        for block in self._slices():
            b, a = self._float64(block)
            total += ((b**2).T @ (a**2)).ravel()
        return np.asarray(total / self.n)

    def _slices(self) -> Iterator[slice]:
        rows = max(1, _NUMBERS // self._factors.a.shape[1])
        for start in range(0, self.n, rows):
            yield slice(start, start + rows)

    def _float64(self, rows: Any) -> tuple[Float64, Float64]:
        return self._factors.b[rows].astype(np.float64), self._factors.a[rows].astype(np.float64)

    def _parts(self) -> Iterator[npt.NDArray[Any]]:
        yield self._factors.b
        yield self._factors.a


def source_of(S: Any, threads: int, device: str | None = None) -> Source:
    """Recognise what prune() was given; ``device`` "cuda" puts it on a GPU, None leaves it."""
    head = S.head if isinstance(S, InfluenceRows) else None
    rows = _as_rows(S)
    if on_cuda(rows.b if isinstance(rows, FactoredRows) else rows, device):
        from dprune.gpu import device_source

        return device_source(rows, head, threads)
    if isinstance(rows, FactoredRows):
        return FactoredSource(rows, head, threads)
    if isinstance(rows, BFloat16Rows):
        return MatrixSource(rows, head, threads)
    if str(rows.dtype) in _STORES and rows.flags.c_contiguous:
        return MatrixSource(rows, head, threads)
    return CopiedSource(rows, head, threads)


def take_rows(S: Any, rows: npt.NDArray[np.int64]) -> Any:
    """Some rows of S, in the same form, without the head they came from."""
    return _as_rows(S)[rows]


def _as_rows(S: Any) -> Any:
    """S without its wrapping, checked, not copied: an array, a CUDA tensor, or rows of ours."""
    if isinstance(S, InfluenceRows):
        S = S.rows if S.factors is None else FactoredRows(*S.factors)
    if isinstance(S, (str, os.PathLike)):
        S = open_rows(S)
    if is_cuda(S):
        return S
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(S, torch.Tensor):
        if S.device.type != "cpu":
            raise ValueError(f"S must be on the CPU or a CUDA device, found {S.device}")
        S = S.detach().resolve_neg().resolve_conj()
        if S.dtype == torch.bfloat16:
            S = BFloat16Rows(S.contiguous().view(torch.int16).numpy().view(np.uint16))
        else:
            S = S.numpy()
    if isinstance(S, (BFloat16Rows, FactoredRows)):
        return S
    if not hasattr(S, "__array__"):
        raise TypeError(
            "S must be a NumPy array, memory map, path of an .npy file, torch tensor, "
            f"InfluenceRows, BFloat16Rows or FactoredRows, found {type(S).__name__}"
        )
    matrix = S if isinstance(S, np.memmap) else np.asarray(S)
    if matrix.dtype not in (np.float32, np.float64, np.float16):
        raise TypeError(f"S must be float32, float64, float16 or bfloat16, found {matrix.dtype}")
    if matrix.ndim != 2:
        raise ValueError(f"S must have 2 dimensions (n, N), found shape {matrix.shape}")
    if matrix.size == 0:
        raise ValueError(f"S must not be empty, found shape {matrix.shape}")
    return matrix
