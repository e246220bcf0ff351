"""Influence rows from a dense Hessian: Cholesky factor, inverse, one matrix product.

Assembly, factorisation and inversion run in float64. The product of gradients and inverse, the
bulk of the work (2 n N^2 operations), runs in float32 where rows sampled across the data set show
that this is accurate enough, and in float64 where it is not. A block of gradients
``g_i = Q^T r_i (x) h_i`` exists only while it is multiplied.

Leverage-corrected rows answer for the removal of one sample alone: H loses that sample's own
curvature. With ``X_i = I (x) h_i``, ``A_i = w_i (diag p_i - p_i p_i^T)``, ``B_i = X_i^T H^-1 X_i``,
the Woodbury identity turns this into another residual, ``r_i -> (I - A_i B_i / n)^-1 r_i``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from dprune._resume import Output
from dprune.design import Float64
from dprune.head import LastLayer

# Float32 products are used up to this relative error of a sampled row.
_SINGLE_ERROR = 2e-6
# Rows whose error and residual are measured.
_SAMPLE = 32
_BLOCK_ENTRIES = 1 << 25


class Cholesky:
    """``H = L L^T`` in float64, in the memory of the matrix that is given.

    Parameters
    ----------
    matrix : (N, N) float64, C-contiguous, symmetric
        Overwritten.

    Raises
    ------
    ValueError
        If the matrix is not positive definite to working precision.
    """

    def __init__(self, matrix: Float64) -> None:
        # The transpose of a symmetric C-ordered matrix is the same matrix in LAPACK's order.
        self._factor, info = lapack.dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
        if info != 0:
            raise ValueError(
                "the Hessian is singular to working precision: the classes are separable or "
                "features are collinear, and weight_decay is too small to make up for it; "
                "raise weight_decay"
            )

    def solve(self, rhs: Float64) -> Float64:
        """``H^-1 B`` for B (N, columns)."""
        solution, _ = lapack.dpotrs(self._factor, rhs, lower=1)
        return np.ascontiguousarray(solution)

    def invert(self) -> Float64:
        """``H^-1`` as a full C-contiguous matrix; the factor is gone afterwards."""
        lower, _ = lapack.dpotri(self._factor, lower=1, overwrite_c=1)
        del self._factor
        inverse = lower.T  # upper triangle, C order
        for start in range(0, len(inverse), 256):
            stop = min(start + 256, len(inverse))
            inverse[start:stop, :start] = inverse[:start, start:stop].T
            corner = inverse[start:stop, start:stop]
            corner[:] = np.triu(corner) + np.triu(corner, 1).T
        return np.asarray(inverse)


def dense_rows(head: LastLayer, output: Output, *, leverage: bool) -> tuple[Float64, float]:
    """Fill ``output`` with ``S_i = (1/n) H^-1 g_i``.

    Returns
    -------
    residuals : (32,) float64
        Relative residuals of float64 solves for rows sampled across the data set.
    error : float
        Largest relative difference between those and the rows as computed for ``output``.
    """
    cholesky = Cholesky(head.hessian.dense())
    sample = np.unique(np.linspace(0, head.n - 1, _SAMPLE).astype(np.int64))
    rhs = gradients(head, sample, head.errors[sample] @ head.hessian.contrasts / head.n).T
    truth = cholesky.solve(rhs)
    residuals = head.hessian.residuals(truth, rhs)
    inverse = cholesky.invert()
    corrected = _leverage(head, inverse) if leverage else None
    single = inverse.astype(np.float32)
    error = _largest_error((rhs.T.astype(np.float32) @ single).T, truth)
    if error <= _SINGLE_ERROR:
        multiplier: npt.NDArray[Any] = single
        del inverse
    else:
        multiplier = inverse
        del single
        error = float(np.finfo(np.float32).eps)
    width = head.hessian.width
    step = max(64, min(4096, _BLOCK_ENTRIES // width))
    for start in range(output.done, head.n, step):
        block = np.arange(start, min(start + step, head.n))
        if corrected is None:
            errors = head.errors[block] @ head.hessian.contrasts / head.n
        else:
            errors = corrected[block] / head.n
        g = gradients(head, block, errors, multiplier.dtype)
        if multiplier.dtype == np.float32:
            np.matmul(g, multiplier, out=output.array[start : start + len(block)])
        else:
            output.array[start : start + len(block)] = g @ multiplier
        output.advance(start + len(block))
    return residuals, error


def gradients(
    head: LastLayer, samples: npt.NDArray[np.int64], errors: Float64, dtype: Any = np.float64
) -> npt.NDArray[Any]:
    """``errors_i (x) h_i`` for some samples, (len(samples), N)."""
    x = head.design.gather(samples).astype(dtype, copy=False)
    out = np.empty((len(samples), errors.shape[1], x.shape[1]), dtype=dtype)
    np.multiply(errors.astype(dtype)[:, :, None], x[:, None, :], out=out)
    return out.reshape(len(samples), -1)


def _largest_error(found: npt.NDArray[Any], truth: Float64) -> float:
    norms = np.linalg.norm(truth, axis=0)
    error = np.linalg.norm(found - truth, axis=0)
    return float(np.max(np.divide(error, norms, out=np.zeros_like(error), where=norms > 0)))


def _leverage(head: LastLayer, inverse: Float64) -> Float64:
    """``(I - A_i B_i / n)^-1 Q^T r_i`` in contrasts, (n, k)."""
    k, width = head.hessian.shape
    blocks = inverse.reshape(k, width, k, width)
    q = head.hessian.contrasts
    out = np.empty((head.n, k))
    for block, x in head.design.blocks():
        b = np.empty((len(x), k, k))
        for i in range(k):
            for j in range(i + 1):
                b[:, i, j] = b[:, j, i] = np.einsum("nd,nd->n", x @ blocks[i, :, j, :], x)
        system = np.eye(k) - head.curvatures(block) @ b / head.n
        residual = head.errors[block] @ q
        out[block] = np.linalg.solve(system, residual[:, :, None])[:, :, 0]
    return out
