"""A sketch ``S P`` of the influence rows on their leading directions, without the rows.

``S = G H^-1 / n``, so ``S P = G (H^-1 P) / n`` costs one solve for each column of P. The
directions come from subspace iteration on ``S^T S``, over a few samples drawn for the purpose
(``row_sampling.py``) and with an approximate inverse where exact solves are dear, and are turned
into principal components of the sketch at the end. ``S P`` and what P leaves out are those of all
samples. The latter is estimated without bias by Hutchinson's probes: for random signs z,
``E ||(I - P P^T) S^T z||^2`` is the energy of S outside the span of P.

A random P would not do: an optimiser hides its sums in the null space of P.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import scipy.linalg

from dprune.curvature import Hessian, Solve
from dprune.design import Float64
from dprune.direct import DirectSolver
from dprune.head import LastLayer
from dprune.row_sampling import sampled_head

_ITERATIONS = 2
_PROBES = 16
_SAMPLE = 32
# Samples of the search for each direction, and at least.
_SEARCH_SAMPLES = 8
_LEAST_SEARCH_SAMPLES = 4096
# Rows multiplied in float64 at once.
_GRAM_ROWS = 4096
_PCG_TOLERANCE = 1e-4
# Residual up to which the directions are solved for in float32.
_DIRECT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Sketch:
    """Rows on leading directions."""

    rows: npt.NDArray[np.float32]  # (n, rank), S P
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
    """Both from the float32 copy of a Cholesky factor, as long as residuals allow it."""

    def __init__(self, solver: DirectSolver) -> None:
        self._solver = solver
        self._single = solver.factor.astype(np.float32)

    def solve(self, rhs: Float64) -> Solve:
        """One factored solve; residuals of 32 columns, for a product with all costs as much."""
        sample = np.unique(np.linspace(0, rhs.shape[1] - 1, _SAMPLE).astype(np.int64))
        for factor in (self._single, self._solver.factor):
            solution = self._solver.solve(rhs, factor).astype(np.float64, copy=False)
            residuals = self._solver.hessian.residuals(solution[:, sample], rhs[:, sample])
            if residuals.max() <= _DIRECT_TOLERANCE:
                break
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
    basis = _leading_directions(head, inverse, rank, rng)
    probes = rng.choice([-1.0, 1.0], size=(head.n, _PROBES))
    solve = inverse.solve(np.concatenate([basis, head.gradient_sum(probes)], axis=1))
    rows: npt.NDArray[np.float32]
    rows = head.gradient_product(solve.solution[:, :rank], dtype=np.float32)
    rows /= head.n
    # S^T z, and what of it lies outside the span.
    images = solve.solution[:, rank:] / head.n
    outside = images - basis @ (basis.T @ images)
    lost = float(np.sum(outside**2)) / _PROBES
    captured, turn = np.linalg.eigh(_gram(rows))
    turn = turn[:, ::-1]
    return Sketch(
        rows @ turn.astype(np.float32),
        basis @ turn,
        lost / (lost + float(captured.sum())),
        solve.residuals,
        solve.iterations,
    )


def _leading_directions(
    head: LastLayer, inverse: Inverse, rank: int, rng: np.random.Generator
) -> Float64:
    """An orthonormal basis (N, rank) near the span of the leading right singular vectors of S."""
    count = max(_LEAST_SEARCH_SAMPLES, _SEARCH_SAMPLES * rank)
    searched = sampled_head(head, inverse.guess, count, rng)
    basis = rng.standard_normal((head.hessian.width, rank))
    for _ in range(_ITERATIONS):
        seen = searched.gradient_product(inverse.guess(basis), dtype=np.float32)
        images = inverse.guess(searched.gradient_sum(seen, dtype=np.float32))
        basis, _ = scipy.linalg.qr(images, mode="economic", check_finite=False)
    return np.asarray(basis, dtype=np.float64)


def _gram(rows: npt.NDArray[np.float32]) -> Float64:
    """``R^T R`` in float64, a block of rows at a time."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _GRAM_ROWS):
        block = rows[start : start + _GRAM_ROWS].astype(np.float64)
        total += block.T @ block
    return total
