"""Influence rows from a dense Hessian: assembly, Cholesky factor, solves.

All of it runs in the eigenbasis of the features' second moment. There the Hessian is close to
graded, and float32 keeps its small eigenvalues, on which the rows depend most, to the same
relative accuracy as the large ones. The factorisation is in float64. Assembly and solves, the
bulk of the work, are in float32 as long as rows sampled across the data set, measured against the
structured float64 product, show that this is accurate enough; else in float64.

Leverage-corrected rows answer for the removal of one sample alone: H loses that sample's own
curvature. With ``X_i = I (x) h_i``, ``A_i = w_i (diag p_i - p_i p_i^T)``, ``B_i = X_i^T H^-1 X_i``,
the Woodbury identity turns this into another residual, ``r_i -> (I - A_i B_i / n)^-1 r_i``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dprune._resume import Output
from dprune.assembly import softmax_hessian
from dprune.cholesky import Cholesky
from dprune.curvature import Hessian
from dprune.design import Float64

# Largest relative error of a sampled row, and of the rows' sum, at which float32 is kept.
_ROW_ERROR = 2e-6
_SUM_ERROR = 3e-7
# Pivots that far apart mean that the Hessian is singular in float64.
_LEAST_PIVOT = 1e-15
# Rows whose error and residual are measured.
_SAMPLE = 32
_BLOCK_ENTRIES = 1 << 25
_LEVERAGE_ROWS = 1024
# Rows for each parameter from which the inverse pays: then a row is one product rather than two
# triangular solves, which run slower, and a turn back.
_INVERSE_ROWS = 8
_SINGULAR = (
    "the Hessian is singular to working precision: the classes are separable or features are "
    "collinear, and weight_decay is too small to make up for it; raise weight_decay"
)


class DirectSolver:
    """``H = L L^T`` for a softmax head, in the eigenbasis of the features.

    Parameters
    ----------
    hessian : Hessian
    dtype : float32 or float64
        Precision of the assembly.

    Raises
    ------
    ValueError
        If the Hessian is not positive definite to working precision.
    """

    def __init__(self, hessian: Hessian, dtype: npt.DTypeLike) -> None:
        self.hessian = hessian
        # Largest first: the factor of a graded matrix is then accurate in every direction.
        self.basis = np.ascontiguousarray(hessian.design.second_moment_eigh[1][:, ::-1])
        self.design = np.empty(hessian.design.shape, dtype=dtype)
        for block, x in hessian.design.blocks():
            self.design[block] = x @ self.basis
        weighted = self.design
        if hessian.design.weights is not None:
            weighted = weighted * np.sqrt(hessian.design.weights)[:, None].astype(dtype)
        matrix = softmax_hessian(weighted, hessian.probabilities, hessian.contrasts)
        matrix[np.diag_indices(len(matrix))] += hessian.weight_decay
        try:
            self.factor = Cholesky(matrix)
        except np.linalg.LinAlgError:
            raise ValueError(_SINGULAR) from None
        pivots = self.factor.diagonal**2
        if pivots.min() < _LEAST_PIVOT * pivots.max():
            raise ValueError(_SINGULAR)

    def solve(self, rhs: npt.NDArray[Any], factor: Cholesky | None = None) -> npt.NDArray[Any]:
        """``H^-1 B`` for B (N, columns), in the precision of both; by default by ``factor``."""
        factor = factor or self.factor
        basis = self.basis.astype(factor.dtype, copy=False)
        columns = rhs.shape[1]
        turned = rhs.T.astype(factor.dtype, copy=False).reshape(-1, len(basis)) @ basis
        rows = turned.reshape(columns, -1)
        factor.solve_rows(rows)
        return np.asarray((rows.reshape(-1, len(basis)) @ basis.T).reshape(columns, -1).T)

    def inverse_blocks(self) -> Float64:
        """``H^-1`` in the eigenbasis, (k, d + 1, k, d + 1)."""
        return self.factor.inverse().reshape(self.hessian.shape * 2)


class RowSolver:
    """Rows ``H^-1 (r_i (x) h_i)`` for blocks of samples in one precision.

    Parameters
    ----------
    solver : DirectSolver
    dtype : float32 or float64
        Of the products.
    """

    def __init__(self, solver: DirectSolver, dtype: npt.DTypeLike) -> None:
        self._design = solver.design
        self._inverse: npt.NDArray[Any] | None = None
        if len(solver.design) >= _INVERSE_ROWS * solver.hessian.width:
            # From residuals in the eigenbasis, where it is graded, to rows out of it.
            turned = solver.inverse_blocks() @ solver.basis.T
            self._inverse = turned.reshape((solver.hessian.width,) * 2).astype(dtype, copy=False)
        else:
            self._factor = solver.factor.astype(dtype)
        self._basis = np.ascontiguousarray(solver.basis.T, dtype=dtype)
        width = solver.hessian.width
        self._buffer = np.empty((0, width), dtype=dtype)
        self.block = max(64, min(4096, _BLOCK_ENTRIES // width))

    def rows(self, samples: Any, errors: Float64) -> npt.NDArray[Any]:
        """Rows for samples (a slice or indices) with residuals ``errors`` (rows, k).

        The result is a view of a buffer that the next call overwrites.
        """
        x = self._design[samples].astype(self._buffer.dtype, copy=False)
        if len(self._buffer) < len(x):
            self._buffer = np.empty((len(x), self._buffer.shape[1]), dtype=self._buffer.dtype)
            self._rows = np.empty_like(self._buffer)
        g = self._buffer[: len(x)]
        out = self._rows[: len(x)]
        e = errors.astype(g.dtype, copy=False)
        np.multiply(e[:, :, None], x[:, None, :], out=g.reshape(*e.shape, -1))
        if self._inverse is not None:
            return np.matmul(g, self._inverse, out=out)
        self._factor.solve_rows(g)
        shape = (len(x) * e.shape[1], x.shape[1])
        np.matmul(g.reshape(shape), self._basis, out=out.reshape(shape))
        return out


def direct_solver(hessian: Hessian, errors: Float64) -> DirectSolver:
    """A factor assembled in float32 where the sum of all rows comes out right, else in float64."""
    solver = DirectSolver(hessian, np.float32)
    if _sum_error(solver, errors) > _SUM_ERROR:
        solver = DirectSolver(hessian, np.float64)
    return solver


def dense_rows(
    hessian: Hessian, errors: Float64, output: Output, *, leverage: bool
) -> tuple[Float64, float]:
    """Fill ``output`` with ``S_i = (1/n) H^-1 (r_i (x) h_i)``.

    Parameters
    ----------
    hessian : Hessian
    errors : (n, k) float64
        ``Q^T r_i``, in contrasts.
    output : Output
    leverage : bool
        Correct the residuals for the samples' own curvature.

    Returns
    -------
    residuals : (32,) float64
        Relative residuals of rows sampled across the data set.
    error : float
        Largest relative error of those rows.
    """
    n = len(errors)
    sample = np.unique(np.linspace(0, n - 1, _SAMPLE).astype(np.int64))
    solver = direct_solver(hessian, errors)
    rows = RowSolver(solver, np.float32)
    residuals, error = _measure(solver, rows, sample, errors)
    if error > _ROW_ERROR and solver.design.dtype == np.float32:
        solver = DirectSolver(hessian, np.float64)
        rows = RowSolver(solver, np.float32)
        residuals, error = _measure(solver, rows, sample, errors)
    if error > _ROW_ERROR:
        rows = RowSolver(solver, np.float64)
        residuals, error = _measure(solver, rows, sample, errors)
    if leverage:
        errors = _leverage(solver, errors)
    for start in range(output.done, n, rows.block):
        block = slice(start, min(start + rows.block, n))
        output.append(rows.rows(block, errors[block] / n))
    return residuals, error


def _measure(
    solver: DirectSolver, rows: RowSolver, sample: npt.NDArray[np.int64], errors: Float64
) -> tuple[Float64, float]:
    """Residuals and largest relative error of some rows, by the structured float64 product."""
    hessian = solver.hessian
    x = hessian.design.gather(sample)
    rhs = (errors[sample, :, None] * x[:, None, :]).reshape(len(sample), -1).T
    found = rows.rows(sample, errors[sample]).T.astype(np.float64)
    gap = rhs - hessian.product(found)
    return _ratios(gap, rhs), float(_ratios(solver.solve(gap), found).max())


def _sum_error(solver: DirectSolver, errors: Float64) -> float:
    """Relative error of the sum of all rows, which single rows do not show."""
    hessian = solver.hessian
    rhs = hessian.design.adjoint_times(errors).reshape(-1, 1)
    found = solver.solve(rhs)
    gap = rhs - hessian.product(found)
    return float(_ratios(solver.solve(gap), found)[0])


def _ratios(part: Float64, whole: Float64) -> Float64:
    """Norms of columns relative to others', zero where those are."""
    norms = np.linalg.norm(whole, axis=0)
    values = np.linalg.norm(part, axis=0)
    return np.asarray(np.divide(values, norms, out=np.zeros_like(values), where=norms > 0))


def _leverage(solver: DirectSolver, errors: Float64) -> Float64:
    """``(I - A_i B_i / n)^-1 Q^T r_i``, (n, k)."""
    inverse = solver.inverse_blocks()
    k = errors.shape[1]
    out = np.empty_like(errors)
    for start in range(0, len(errors), _LEVERAGE_ROWS):
        block = slice(start, min(start + _LEVERAGE_ROWS, len(errors)))
        x = solver.design[block].astype(np.float64, copy=False)
        b = np.empty((len(x), k, k))
        for i in range(k):
            for j in range(i + 1):
                b[:, i, j] = b[:, j, i] = np.einsum("nd,nd->n", x @ inverse[i, :, j, :], x)
        system = np.eye(k) - solver.hessian.curvatures(block) @ b / len(errors)
        out[block] = np.linalg.solve(system, errors[block, :, None])[:, :, 0]
    return out
