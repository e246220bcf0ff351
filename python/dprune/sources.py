"""Where rows come from: the forms of S that prune() takes, as a solver store and float64 sums."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune import _core
from dprune.curvature import Float64
from dprune.factored import FactoredRows
from dprune.head import LastLayer
from dprune.influence import InfluenceRows

# Rows per block when a matrix has to be converted on the way.
_BLOCK = 4096
# Squared norms outside this range would leave float32 in the solver's inner products.
_LEAST_SQUARE, _LARGEST_SQUARE = 1e-34, 1e34


class Source:
    """S as given, for certificates, and as the float32 store that the solver works on.

    float32 in C order is used in place; float64, float16, Fortran-ordered and strided matrices
    are streamed into one float32 working copy, and all float64 sums run over the original.
    """

    def __init__(self, S: Any, threads: int) -> None:
        self.head: LastLayer | None = None
        if isinstance(S, InfluenceRows):
            self.head = S.head
            S = S.rows
        self.original = _as_matrix(S)
        self.n, self.width = self.original.shape
        self.threads = threads
        self.squared_norms = self._squared_norms()
        in_place = self.original.dtype == np.float32 and self.original.flags.c_contiguous
        self.working_copy = not in_place
        dense = self.original if in_place else np.empty((self.n, self.width), dtype=np.float32)
        if self.working_copy:
            for start in range(0, self.n, _BLOCK):
                dense[start : start + _BLOCK] = self.original[start : start + _BLOCK]
        self.dtype = str(self.original.dtype)
        self.store: _core.Rows = _core.DenseRows(dense)

    def group_sums(self, labels: npt.NDArray[np.int64], groups: int) -> Float64:
        """Sum of the rows of each group, (groups, N) float64; label -1: in none."""
        sums = np.zeros((groups, self.width))
        for start, block in self._blocks():
            part = labels[start : start + len(block)]
            _core.add_groups(block, part, sums, self.threads)
        return sums

    def dots(self, v: Float64) -> Float64:
        """Inner products of all rows with v, in float64."""
        return np.concatenate([block @ v for _, block in self._float64_blocks()])

    def weighted_sum(self, weights: Float64) -> Float64:
        """Sum of the rows times these weights, in float64."""
        total = np.zeros(self.width)
        for start, block in self._float64_blocks():
            total += weights[start : start + len(block)] @ block
        return total

    def mean_square_columns(self) -> Float64:
        """Mean square of each column."""
        total = np.zeros(self.width)
        for _, block in self._float64_blocks():
            total += np.einsum("ij,ij->j", block, block)
        mean: Float64 = total / self.n
        return mean

    def _float64_blocks(self) -> Iterator[tuple[int, Float64]]:
        for start in range(0, self.n, _BLOCK):
            yield start, np.asarray(self.original[start : start + _BLOCK], dtype=np.float64)

    def fingerprint(self) -> str:
        """SHA-256 of the data set where the rows carry a head, else of the matrix."""
        if self.head is not None:
            return self.head.fingerprint
        digest = hashlib.sha256(f"dprune S {self.original.shape} {self.original.dtype}".encode())
        for start in range(0, self.n, _BLOCK):
            digest.update(np.ascontiguousarray(self.original[start : start + _BLOCK]).data)
        return digest.hexdigest()

    def _blocks(self) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """The original in pieces that the core reads: all of it, or converted block by block."""
        native = self.original.dtype in (np.float32, np.float64)
        if native and self.original.flags.c_contiguous:
            yield 0, self.original
            return
        for start in range(0, self.n, _BLOCK):
            block = self.original[start : start + _BLOCK]
            yield start, np.ascontiguousarray(block, dtype=None if native else np.float32)

    def _squared_norms(self) -> Float64:
        norms = np.concatenate(
            [_core.squared_norms(block, self.threads) for _, block in self._blocks()]
        )
        return _checked(norms)


class FactoredSource(Source):
    """Rows b_i (x) a_i, never multiplied out; float64 sums are of the float32 factors."""

    def __init__(self, S: FactoredRows, threads: int, head: LastLayer | None = None) -> None:
        self.head = head
        self.factors = S
        self.n, self.width = S.shape
        self.threads = threads
        self.dtype = "float32 factors"
        self.working_copy = False
        self.factored_store = _core.FactoredRows(S.b, S.a)
        self.store = self.factored_store
        self.squared_norms = _checked(self.factored_store.squared_norms(threads))

    def group_sums(self, labels: npt.NDArray[np.int64], groups: int) -> Float64:
        """Sum of the rows of each group, (groups, N) float64; label -1: in none."""
        sums = np.zeros((groups, self.width))
        self.factored_store.add_groups(labels, sums, self.threads)
        return sums

    def dots(self, v: Float64) -> Float64:
        """Inner products of all rows with v, in float64."""
        matrix = v.reshape(self.factors.b.shape[1], -1)
        parts = [np.einsum("ij,ij->i", a @ matrix.T, b) for _, b, a in self._factor_blocks()]
        return np.concatenate(parts)

    def weighted_sum(self, weights: Float64) -> Float64:
        """Sum of the rows times these weights, in float64."""
        total = np.zeros((self.factors.b.shape[1], self.factors.a.shape[1]))
        for start, b, a in self._factor_blocks():
            total += (b * weights[start : start + len(b), None]).T @ a
        return total.reshape(-1)

    def mean_square_columns(self) -> Float64:
        """Mean square of each column."""
        total = np.zeros((self.factors.b.shape[1], self.factors.a.shape[1]))
        for _, b, a in self._factor_blocks():
            total += (b * b).T @ (a * a)
        mean: Float64 = total.reshape(-1) / self.n
        return mean

    def _factor_blocks(self) -> Iterator[tuple[int, Float64, Float64]]:
        for start in range(0, self.n, _BLOCK):
            part = slice(start, start + _BLOCK)
            yield start, self.factors.b[part].astype(float), self.factors.a[part].astype(float)

    def fingerprint(self) -> str:
        """SHA-256 of the data set where the rows carry a head, else of the factors."""
        if self.head is not None:
            return self.head.fingerprint
        digest = hashlib.sha256(f"dprune factored S {self.factors.b.shape}".encode())
        digest.update(self.factors.b.tobytes())
        digest.update(self.factors.a.tobytes())
        return digest.hexdigest()


def source_of(S: Any, threads: int) -> Source:
    """The source for whatever was given as S."""
    if isinstance(S, InfluenceRows) and S.factors is not None:
        return FactoredSource(FactoredRows(*S.factors), threads, S.head)
    if isinstance(S, FactoredRows):
        return FactoredSource(S, threads)
    return Source(S, threads)


def _checked(norms: Float64) -> Float64:
    """Squared norms, if the solver can work with rows of such norms."""
    bad = ~np.isfinite(norms)
    if bad.any():
        raise ValueError(f"S must be finite, found NaN or Inf in row {int(bad.argmax())}")
    largest = float(norms.max())
    if largest > _LARGEST_SQUARE or 0.0 < largest < _LEAST_SQUARE:
        raise ValueError(
            f"S must suit float32 arithmetic, found rows of norm {largest**0.5:.1e}; "
            "rescale S (and eps)"
        )
    return norms


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
            "S must be a NumPy array, memory map, torch tensor or InfluenceRows, found "
            f"{type(S).__name__}"
        )
    matrix = np.asarray(S)
    if matrix.dtype not in (np.float32, np.float64, np.float16):
        raise TypeError(f"S must be float32, float64 or float16, found {matrix.dtype}")
    if matrix.ndim != 2:
        raise ValueError(f"S must have 2 dimensions (n, N), found shape {matrix.shape}")
    if matrix.size == 0:
        raise ValueError(f"S must not be empty, found shape {matrix.shape}")
    return matrix
