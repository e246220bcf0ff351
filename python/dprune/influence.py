"""Influence rows: how much the last layer moves when a sample is left out (paper, Eq. 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from dprune.curvature import Float64
from dprune.head import LastLayer

_METHODS = ("auto", "dense")
# Rows solved for at once.
_BLOCK = 2048


@dataclass(frozen=True)
class InfluenceRows:
    """The matrix S, one row a sample, with the head it came from.

    Attributes
    ----------
    rows : (n, (C - 1)(d + 1)) float32
        ``S_i = (1/n) H^-1 g_i`` in orthonormal class contrasts (x) [features, 1]; norms and inner
        products are those of the C (d + 1) parameters.
    head : LastLayer
        Where they came from.
    residuals : (k,) float64
        Largest relative residual ``||H s - g|| / ||g||`` of the solves, block by block, measured
        on sampled rows in float64.
    approximate : bool
        True if the rows are not the exact ones up to rounding.
    """

    rows: npt.NDArray[np.float32]
    head: LastLayer
    residuals: Float64
    approximate: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(n, N)."""
        return self.rows.shape[0], self.rows.shape[1]

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """float32."""
        return self.rows.dtype

    def __len__(self) -> int:
        return len(self.rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self.rows, dtype=dtype, copy=copy)

    def expand(self) -> npt.NDArray[np.float32]:
        """The rows in all C (d + 1) parameters, (n, C (d + 1)) float32: class by class."""
        q = self.head.hessian.contrasts.astype(np.float32)
        blocks = self.rows.reshape(len(self), *self.head.hessian.shape)
        return np.asarray(np.einsum("ck,nkj->ncj", q, blocks, optimize=True).reshape(len(self), -1))


def influence(
    head: LastLayer, method: str = "auto", out: npt.NDArray[np.float32] | None = None
) -> InfluenceRows:
    """Parameter influence of every sample on the head: ``S_i = (1/n) H^-1 g_i``.

    Koh and Liang (2017), as used in the paper's Eq. 2 and Algorithm 1, line 4.

    Parameters
    ----------
    head : LastLayer
        A head at the minimum of its loss.
    method : {"auto", "dense"}
        ``dense`` factors the exact Hessian in float64 (Cholesky).
    out : (n, (C - 1)(d + 1)) float32, C-contiguous, optional
        Where the rows are written, a memory map for example.

    Returns
    -------
    InfluenceRows

    Raises
    ------
    ValueError
        On an unknown method, or an ``out`` of another shape or type.
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, found {method!r}")
    hessian = head.hessian
    shape = (head.n, hessian.width)
    if out is None:
        out = np.empty(shape, dtype=np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ValueError(
            f"out must be a C-contiguous float32 array of shape {shape}, found {out.dtype} "
            f"{out.shape}"
        )
    matrix = hessian.dense()
    factor = scipy.linalg.cho_factor(matrix, lower=True)
    residuals = []
    for start in range(0, head.n, _BLOCK):
        block = slice(start, start + _BLOCK)
        errors = (head.errors[block] @ hessian.contrasts) / head.n
        gradients = np.einsum("nk,nj->nkj", errors, head.design[block]).reshape(len(errors), -1).T
        rows = scipy.linalg.cho_solve(factor, gradients)
        sample = slice(None, None, max(1, rows.shape[1] // 16))
        gap = hessian.product(np.ascontiguousarray(rows[:, sample])) - gradients[:, sample]
        scale = np.linalg.norm(gradients[:, sample], axis=0)
        error = np.linalg.norm(gap, axis=0)
        residuals.append(np.max(np.divide(error, scale, out=np.zeros_like(error), where=scale > 0)))
        out[block] = rows.T
    return InfluenceRows(out, head, np.array(residuals))
