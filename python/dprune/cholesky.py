"""A Cholesky factor that spends its time in matrix products.

LAPACK's own factorisation and triangular solves reach half the speed of a matrix product, or less.
Here both halve the matrix until a block is small, so that nearly all work is one large product a
level; the small triangles on the diagonal are inverted once, and a solve with one of them is a
product too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from dprune.design import Float64

# Order of the triangles that are inverted.
_LEAF = 256
# Rows of a symmetric update done at once: what lies above the diagonal is computed in vain.
_UPDATE_ROWS = 1024


class Cholesky:
    """``H = L L^T``.

    Parameters
    ----------
    matrix : (N, N) float64, C-contiguous
        Symmetric; its lower triangle is replaced by L.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the matrix is not positive definite to working precision.
    """

    def __init__(self, matrix: Float64) -> None:
        self._lower: npt.NDArray[Any] = matrix
        self._inverses: dict[int, npt.NDArray[Any]] = {}
        self._factor(0, len(matrix))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of L."""
        return self._lower.dtype

    @property
    def diagonal(self) -> npt.NDArray[Any]:
        """Of L."""
        return np.diagonal(self._lower)

    def astype(self, dtype: npt.DTypeLike) -> Cholesky:
        """The same factor in another precision; itself where it has that one."""
        if self._lower.dtype == dtype:
            return self
        copy = object.__new__(Cholesky)
        copy._lower = self._lower.astype(dtype)
        copy._inverses = {start: part.astype(dtype) for start, part in self._inverses.items()}
        return copy

    def solve_rows(self, rows: npt.NDArray[Any]) -> None:
        """``B <- B H^-1`` in place for B (count, N) of the factor's precision."""
        stop = len(self._lower)
        scratch = _scratch(rows, stop)
        self._forward(rows, 0, stop, scratch)
        self._backward(rows, 0, stop, scratch)

    def inverse(self) -> Float64:
        """``H^-1``, (N, N), of a factor in float64."""
        # The rows of L are the columns of an upper triangle, which is how LAPACK stores it.
        inverse = lapack.dpotri(self._lower.T, lower=0)[0].T
        for start in range(0, len(inverse), _UPDATE_ROWS):
            rows = slice(start, start + _UPDATE_ROWS)
            inverse[:start, rows] = inverse[rows, :start].T
            lower = np.tril(inverse[rows, rows])
            inverse[rows, rows] = lower + np.tril(lower, -1).T
        return np.asarray(inverse)

    def _factor(self, start: int, stop: int) -> None:
        L = self._lower
        if stop - start <= _LEAF:
            block = L[start:stop, start:stop]
            factor, info = lapack.dpotrf(block, lower=1)
            if info != 0:
                raise np.linalg.LinAlgError("the matrix is not positive definite")
            block[:] = factor
            self._inverses[start] = np.ascontiguousarray(lapack.dtrtri(factor, lower=1)[0])
            return
        middle = _middle(start, stop)
        self._factor(start, middle)
        below = L[middle:stop, start:middle]
        self._forward(below, start, middle, _scratch(below, middle - start))
        for first in range(middle, stop, _UPDATE_ROWS):
            last = min(first + _UPDATE_ROWS, stop)
            L[first:last, middle:last] -= below[first - middle : last - middle] @ (
                below[: last - middle].T
            )
        self._factor(middle, stop)

    def _forward(
        self, rows: npt.NDArray[Any], start: int, stop: int, scratch: npt.NDArray[Any]
    ) -> None:
        """``B <- B L^-T`` for the rows and columns start..stop of L; B has these columns."""
        if stop - start <= _LEAF:
            rows[:] = _product(rows, self._inverses[start].T, scratch)
            return
        middle = _middle(start, stop)
        left, right = rows[:, : middle - start], rows[:, middle - start :]
        self._forward(left, start, middle, scratch)
        right -= _product(left, self._lower[middle:stop, start:middle].T, scratch)
        self._forward(right, middle, stop, scratch)

    def _backward(
        self, rows: npt.NDArray[Any], start: int, stop: int, scratch: npt.NDArray[Any]
    ) -> None:
        """``B <- B L^-1`` likewise."""
        if stop - start <= _LEAF:
            rows[:] = _product(rows, self._inverses[start], scratch)
            return
        middle = _middle(start, stop)
        left, right = rows[:, : middle - start], rows[:, middle - start :]
        self._backward(right, middle, stop, scratch)
        left -= _product(right, self._lower[middle:stop, start:middle], scratch)
        self._backward(left, start, middle, scratch)


def _scratch(rows: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """Room for the largest product of a solve: fresh memory for each would cost page faults."""
    return np.empty(len(rows) * max(_middle(0, width), _LEAF), dtype=rows.dtype)


def _product(
    a: npt.NDArray[Any], b: npt.NDArray[Any], scratch: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """``A B``, in the scratch memory."""
    shape = len(a), b.shape[1]
    return np.matmul(a, b, out=scratch[: shape[0] * shape[1]].reshape(shape))


def _middle(start: int, stop: int) -> int:
    """Half way, in whole leaves."""
    leaves = -(-(stop - start) // _LEAF)
    return start + (leaves + 1) // 2 * _LEAF if leaves > 2 else start + _LEAF
