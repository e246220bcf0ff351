"""Where rows come from: the forms of S that prune() takes, as a solver store and float64 sums."""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune import _core
from dprune.design import Float64
from dprune.factored import FactoredRows
from dprune.head import LastLayer
from dprune.influence import InfluenceRows

# Rows per block when a matrix has to be converted on the way.
_BLOCK = 4096
# Squared norms outside this range would leave float32 in the solver's inner products.
_LEAST_SQUARE, _LARGEST_SQUARE = 1e-34, 1e34


class Source(ABC):
    """S as given, for certificates, and as the store that the solver works on.

    Attributes
    ----------
    n, width : int
    store : _core.Rows
    squared_norms : (n,) float64
    head : LastLayer or None
        Where influence rows came from.
    dtype : str
        Of the rows as given.
    working_copy : bool
        Whether the solver works on a float32 copy.
    """

    store: _core.Rows
    dtype: str
    working_copy = False

    def __init__(
        self, shape: tuple[int, int], squared_norms: Float64, head: LastLayer | None, threads: int
    ) -> None:
        self.n, self.width = shape
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

    @abstractmethod
    def group_sums(self, labels: npt.NDArray[np.int64], groups: int) -> Float64:
        """Sum of the rows of each group, (groups, N) float64; label -1: in none."""
        ...

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

    def fingerprint(self) -> str:
        """SHA-256 of the data set where the rows carry a head, else of the matrix."""
        if self.head is not None:
            return self.head.fingerprint
        digest = hashlib.sha256(f"dprune S {self.n} {self.width} {self.dtype}".encode())
        for part in self._parts():
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    @abstractmethod
    def _parts(self) -> Iterator[npt.NDArray[Any]]: ...


class DenseSource(Source):
    """A matrix. float32 in C order is used in place.

    float64, float16, Fortran-ordered and strided matrices are streamed into one float32 working
    copy, and all float64 sums run over the original.
    """

    def __init__(self, S: npt.NDArray[Any], head: LastLayer | None, threads: int) -> None:
        self._original = S
        self.dtype = str(S.dtype)
        norms = [_core.squared_norms(block, threads) for _, block in self._blocks()]
        super().__init__((S.shape[0], S.shape[1]), np.concatenate(norms), head, threads)
        self.working_copy = S.dtype != np.float32 or not S.flags.c_contiguous
        dense = S
        if self.working_copy:
            dense = np.empty(S.shape, dtype=np.float32)
            for start in range(0, self.n, _BLOCK):
                dense[start : start + _BLOCK] = S[start : start + _BLOCK]
        self.store = _core.DenseRows(dense)

    def group_sums(self, labels: npt.NDArray[np.int64], groups: int) -> Float64:
        """Sum of the rows of each group, (groups, N) float64; label -1: in none."""
        sums = np.zeros((groups, self.width))
        for start, block in self._blocks():
            part = labels[start : start + len(block)]
            _core.add_groups(block, part, sums, self.threads)
        return sums

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
        return total / self.n

    def _blocks(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """The original in pieces that the core reads: all of it, or converted block by block."""
        native = self._original.dtype in (np.float32, np.float64)
        if native and self._original.flags.c_contiguous:
            yield 0, self._original
            return
        for start in range(0, len(self._original), _BLOCK):
            block = self._original[start : start + _BLOCK]
            yield start, np.ascontiguousarray(block, dtype=None if native else np.float32)

    def _parts(self) -> Iterator[npt.NDArray[Any]]:
        for start in range(0, self.n, _BLOCK):
            yield self._original[start : start + _BLOCK]

    def _float64_parts(self) -> Iterator[Float64]:
        for part in self._parts():
            yield np.asarray(part, dtype=np.float64)


class FactoredSource(Source):
    """Rows kept as factors."""

    dtype = "float32 factors"

    def __init__(self, S: FactoredRows, head: LastLayer | None, threads: int) -> None:
        self._factors = S
        self._factored = _core.FactoredRows(S.b, S.a)
        self.store = self._factored
        super().__init__(S.shape, self._factored.squared_norms(threads), head, threads)

    def group_sums(self, labels: npt.NDArray[np.int64], groups: int) -> Float64:
        """Sum of the rows of each group, (groups, N) float64; label -1: in none."""
        sums = np.zeros((groups, self.width))
        self._factored.add_groups(labels, sums, self.threads)
        return sums

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
        return total / self.n

    def _slices(self) -> Iterator[slice]:
        for start in range(0, self.n, _BLOCK):
            yield slice(start, start + _BLOCK)

    def _float64(self, rows: Any) -> tuple[Float64, Float64]:
        return self._factors.b[rows].astype(np.float64), self._factors.a[rows].astype(np.float64)

    def _parts(self) -> Iterator[npt.NDArray[Any]]:
        yield self._factors.b
        yield self._factors.a


def source_of(S: Any, threads: int) -> Source:
    """Recognise what prune() was given."""
    head = None
    if isinstance(S, InfluenceRows):
        head = S.head
        S = S.rows if S.factors is None else FactoredRows(*S.factors)
    if isinstance(S, FactoredRows):
        return FactoredSource(S, head, threads)
    return DenseSource(_as_matrix(S), head, threads)


def take_rows(S: Any, rows: npt.NDArray[np.int64]) -> Any:
    """Some rows of S, in the same form, without the head they came from."""
    if isinstance(S, InfluenceRows):
        S = S.rows if S.factors is None else FactoredRows(*S.factors)
    return S[rows]


def _as_matrix(S: Any) -> npt.NDArray[Any]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(S, torch.Tensor):
        if S.device.type != "cpu":
            raise ValueError(
                f"S must be on the CPU, found {S.device}: the solvers do not run on a GPU yet; "
                "pass S.cpu()"
            )
        if S.dtype == torch.bfloat16:
            raise TypeError("S must be float32, float64 or float16, found bfloat16; use S.float()")
        S = S.detach().resolve_neg().resolve_conj().numpy()
    if not hasattr(S, "__array__"):
        raise TypeError(
            "S must be a NumPy array, memory map, torch tensor, InfluenceRows or FactoredRows, "
            f"found {type(S).__name__}"
        )
    matrix = np.asarray(S)
    if matrix.dtype not in (np.float32, np.float64, np.float16):
        raise TypeError(f"S must be float32, float64 or float16, found {matrix.dtype}")
    if matrix.ndim != 2:
        raise ValueError(f"S must have 2 dimensions (n, N), found shape {matrix.shape}")
    if matrix.size == 0:
        raise ValueError(f"S must not be empty, found shape {matrix.shape}")
    return matrix
