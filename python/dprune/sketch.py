"""A sketch ``S P`` of the influence rows on their leading directions, without the rows.

``S = G H^-1 / n``, so ``S P = G (H^-1 P) / n`` costs one solve for each column of P. The
directions come from subspace iteration on ``S^T S`` with an approximate inverse where exact
solves are dear, and are turned into principal components of the sketch at the end. What they
leave out is estimated without bias by Hutchinson's probes: for random signs z,
``E ||(I - P P^T) S^T z||^2`` is the energy of S outside the span of P.

A random P would not do: an optimiser hides its sums in the null space of P.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dprune.curvature import Hessian, Solve
from dprune.design import Float64
from dprune.direct import DirectSolver
from dprune.head import LastLayer

_ITERATIONS = 2
_PROBES = 16
_SAMPLE = 32
_PCG_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Sketch:
    """Rows on leading directions."""

    rows: Float64  # (n, rank), S P
    basis: Float64  # (N, rank), P, orthonormal
    left_out: float  # share of ||S||_F^2 outside P, estimated
    residuals: Float64  # of the solves with P and with the probes, or of some of them
    iterations: int


class Inverse(Protocol):
    """``H^-1``, accurate, and cheap for the search of directions."""

    def solve(self, rhs: Float64) -> Solve:
        """To the accuracy of the sketch."""
        ...

    def guess(self, rhs: Float64) -> Float64:
        """Good enough to find directions."""
        ...


class DirectInverse:
    """Both from a Cholesky factor, guesses from its float32 copy."""

    def __init__(self, solver: DirectSolver) -> None:
        self._solver = solver
        self._single = solver.factor.astype(np.float32)

    def solve(self, rhs: Float64) -> Solve:
        """One factored solve; residuals of 32 columns, for a product with all costs as much."""
        solution = self._solver.solve(rhs)
        sample = np.unique(np.linspace(0, rhs.shape[1] - 1, _SAMPLE).astype(np.int64))
        residuals = self._solver.hessian.residuals(solution[:, sample], rhs[:, sample])
        return Solve(solution, residuals, 0)

    def guess(self, rhs: Float64) -> Float64:
        """In float32."""
        return self._solver.solve(rhs, self._single)


class IterativeInverse:
    """Conjugate gradients to 1e-4, and their preconditioner."""

    def __init__(self, hessian: Hessian) -> None:
        self._hessian = hessian

    def solve(self, rhs: Float64) -> Solve:
        """Conjugate gradients."""
        return self._hessian.solve(rhs, tol=_PCG_TOLERANCE)

    def guess(self, rhs: Float64) -> Float64:
        """The Kronecker-factored inverse."""
        return self._hessian.precondition(rhs)


def sketch_rows(head: LastLayer, inverse: Inverse, rank: int, *, seed: int = 0) -> Sketch:
    """``S P`` for ``rank`` leading directions P of S."""
    rng = np.random.default_rng(seed)
    basis = rng.standard_normal((head.hessian.width, rank))
    for _ in range(_ITERATIONS):
        seen = head.gradient_product(inverse.guess(basis), dtype=np.float32)
        basis = np.linalg.qr(inverse.guess(head.gradient_sum(seen, dtype=np.float32)))[0]
    probes = rng.choice([-1.0, 1.0], size=(head.n, _PROBES))
    rhs = np.concatenate([basis, head.gradient_sum(probes)], axis=1)
    solve = inverse.solve(rhs)
    rows = head.gradient_product(solve.solution[:, :rank], dtype=np.float32) / head.n
    # S^T z, and what of it lies outside the span.
    images = solve.solution[:, rank:] / head.n
    outside = images - basis @ (basis.T @ images)
    lost = float(np.sum(outside**2)) / _PROBES
    captured, turn = np.linalg.eigh(rows.T @ rows)
    turn = turn[:, ::-1]
    return Sketch(
        rows @ turn,
        basis @ turn,
        lost / (lost + float(captured.sum())),
        solve.residuals,
        solve.iterations,
    )
