"""What influence() gives: rows, dense, on leading directions or as factors, with their errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune.backend import to_host
from dprune.bfloat16 import BFloat16Rows
from dprune.design import Float64
from dprune.factored import FactoredRows
from dprune.head import LastLayer

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class InfluenceRows:
    """The matrix S, one row a sample, with the head it came from.

    Attributes
    ----------
    rows : (n, k (d + 1)) float32 array, BFloat16Rows or CUDA tensor; (n, rank) for a sketch
        ``S_i = (1/n) H^-1 g_i`` in orthonormal class contrasts (x) [features, 1]; norms and inner
        products are those of the C (d + 1) parameters. k is C - 1, and C for squared loss.
        Factored rows have none: this raises ValueError.
    head : LastLayer
        Where they came from.
    residuals : float64 vector
        Relative residuals ``||H s - g|| / ||g||`` of the solves: ``pcg`` and ``lissa`` of each
        row, ``dense`` of 32 rows across the data set, empty for ``kfac``; a sketch's of
        its directions (``dense``: of 32 of them).
    approximate : bool
        True if the rows are not the exact ones up to rounding or the solves' tolerance.
    method : str
        ``dense``, ``pcg``, ``lissa`` or ``kfac``.
    reason : str
        Why this method.
    iterations : int
        Steps of an iterative method, else 0.
    error : float or None
        Largest measured relative error of a row: ``dense`` against float64 solves, ``lissa`` and
        ``kfac`` against conjugate gradients, on rows across the data set. None where not measured.
    factors : (b, a) or None
        Factored rows: ``S_i = b_i (x) a_i`` flattened with b's index slow; b (n, k) and
        a (n, d + 1) float32, CUDA tensors where made on a device.
    basis : (k (d + 1), rank) float32 or None
        Of a sketch: orthonormal directions P, the rows being ``S P``.
    left_out : float or None
        Of a sketch: share of the rows' squared norms that lies outside P, an unbiased estimate.
    """

    dense: Any = field(repr=False)  # None where factored
    head: LastLayer = field(repr=False)
    residuals: Float64 = field(repr=False)
    approximate: bool = False
    method: str = "dense"
    reason: str = "asked for"
    iterations: int = 0
    error: float | None = None
    factors: tuple[Any, Any] | None = field(default=None, repr=False)
    basis: Float32 | None = field(default=None, repr=False)
    left_out: float | None = None

    @property
    def rows(self) -> Any:
        """The dense matrix."""
        if self.dense is None:
            raise ValueError("these rows are factored: use factors, or np.asarray for all of them")
        return self.dense

    @property
    def shape(self) -> tuple[int, int]:
        """(n, N)."""
        if self.dense is not None:
            return self.dense.shape[0], self.dense.shape[1]
        b, a = factors_of(self)
        return len(b), b.shape[1] * a.shape[1]

    @property
    def dtype(self) -> np.dtype[np.float32] | str:
        """float32, or ``"bfloat16"``."""
        name = str(getattr(self.dense, "dtype", "float32")).removeprefix("torch.")
        return name if name == "bfloat16" else np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if self.dense is None:
            return FactoredRows(*factors_of(self)).__array__(dtype, copy)
        if isinstance(self.dense, BFloat16Rows):
            return self.dense.__array__(dtype, copy)
        dense = to_host(self.dense)
        # NumPy 1 does not know copy=None.
        if copy is None:
            return np.asarray(dense, dtype=dtype)
        return np.array(dense, dtype=dtype, copy=copy)

    def expand(self) -> Float32:
        """The rows in all C (d + 1) parameters, (n, C (d + 1)) float32: class by class."""
        q = self.head.hessian.contrasts.astype(np.float32)
        rows = np.asarray(self) if self.basis is None else np.asarray(self) @ self.basis.T
        blocks = rows.reshape(len(self), *self.head.hessian.shape)
        return np.asarray(np.einsum("ck,nkj->ncj", q, blocks, optimize=True).reshape(len(self), -1))


def factors_of(rows: InfluenceRows) -> tuple[Any, Any]:
    """``(b, a)`` of factored rows."""
    if rows.factors is None:
        raise ValueError("rows must be dense or factored, found neither")
    return rows.factors
