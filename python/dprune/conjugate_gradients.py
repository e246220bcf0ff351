"""Preconditioned block conjugate gradients.

All right-hand sides share their search directions (O'Leary, 1980): after j steps each solution is
the best one in the span of all of them, so that a block of 64 takes a few steps where one alone
takes dozens. Directions are orthonormalised in every step (Dubrulle, 2001), which keeps the small
systems regular when right-hand sides become dependent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
from scipy.linalg import blas, lapack

from dprune.design import Float64

Operator = Callable[[Float64], Float64]

# Reciprocal condition of a Gram matrix of rows of length one: from here on one Cholesky factor
# makes them orthonormal to a billionth, and down to here two to rounding.
_REGULAR = 1e-6
_DEPENDENT = 1e-12


def block_conjugate_gradients(
    product: Operator, precondition: Operator, rhs: Float64, tol: float, max_iterations: int
) -> tuple[Float64, int]:
    """``X`` with ``X H = B``, to a relative residual of ``tol`` in each row, and the steps taken.

    Parameters
    ----------
    product, precondition : callable
        ``V H`` and ``V M^-1`` for V (rows, N), both symmetric and positive definite.
    rhs : (rows, N) float64
    tol : float
    max_iterations : int
        Where to give up.
    """
    norms = np.linalg.norm(rhs, axis=1)
    # Rows of one length: none is lost beside larger ones.
    scale = np.where(norms > 0.0, norms, 1.0)[:, None]
    r = rhs / scale
    x = np.zeros_like(r)
    directions = _orthonormal(precondition(r))
    for steps in range(max_iterations):
        if (np.linalg.norm(r, axis=1) <= tol).all():
            return x * scale, steps
        images = product(directions)
        energy = scipy.linalg.cho_factor(directions @ images.T, check_finite=False)
        step = scipy.linalg.cho_solve(energy, directions @ r.T).T
        x += step @ directions
        r -= step @ images
        # The next directions, conjugate to these.
        z = precondition(r)
        overlap = scipy.linalg.cho_solve(energy, images @ z.T).T
        directions = _orthonormal(z - overlap @ directions)
    return x * scale, max_iterations


def _orthonormal(rows: Float64) -> Float64:
    """An orthonormal basis of the rows' span, with arbitrary directions where they depend.

    ``L^-1 V`` with ``V V^T = L L^T`` and rows of length one: a third of the time of Householder's
    reflections. The result is orthonormal up to rounding times the condition of ``V V^T``. Rows
    that come near to depending therefore go through it twice (CholeskyQR2: Yamamoto, Nakatsukasa,
    Yanagisawa and Fukaya, 2015), and those that depend to half the digits are left to Householder.
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if lengths.all():
        units = rows / lengths
        gram = units @ units.T
        lower, failed = lapack.dpotrf(gram, lower=1)
        regularity = 0.0 if failed else lapack.dpocon(lower, np.linalg.norm(gram, 1), uplo="L")[0]
        if regularity > _DEPENDENT:
            solved = blas.dtrsm(1.0, lower, units.T, side=1, lower=1, trans_a=1, overwrite_b=1)
            return np.asarray(solved.T) if regularity > _REGULAR else _orthonormal(solved.T)
    q, _ = scipy.linalg.qr(rows.T, mode="economic", check_finite=False)
    return np.ascontiguousarray(q.T)
