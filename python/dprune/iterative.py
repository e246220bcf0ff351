"""Influence rows from products with the Hessian alone: conjugate gradients, and LiSSA.

Preconditioned conjugate gradients solve for a block of rows at a time and state each row's
residual. LiSSA is what the paper used and stands here for comparison: the recursion

    x <- v + (I - H_batch / scale) x,        x / scale -> H^-1 v

(Agarwal, Bullins and Hazan, 2017) with the true weight decay inside H as the only damping and
``scale`` above the largest eigenvalue, which Lanczos iteration gives. It needs
``lambda_max / lam`` times the logarithm of the accuracy in steps, and the noise of its batches
remains in the answer.
"""

from __future__ import annotations

import math

import numpy as np

from dprune._resume import Output
from dprune.curvature import Curvature, Hessian
from dprune.design import Design, Float64
from dprune.head import LastLayer

# Relative residual at which a row is done.
PCG_TOLERANCE = 1e-5
_COLUMNS = 256
_LISSA_COLUMNS = 2048
_LISSA_BATCH = 256
_LISSA_TOLERANCE = 1e-2
_LISSA_MARGIN = 1.2
_LISSA_MOST_STEPS = 10_000


def pcg_rows(head: LastLayer, output: Output) -> tuple[Float64, int]:
    """Fill ``output`` by preconditioned conjugate gradients.

    Returns
    -------
    residuals : (n,) float64
        Of each row; NaN for rows that an earlier run had written.
    iterations : int
        Most that a block needed.
    """
    residuals = np.full(head.n, np.nan)
    iterations = 0
    for start in range(output.done, head.n, _COLUMNS):
        block = np.arange(start, min(start + _COLUMNS, head.n))
        solve = head.hessian.solve(head.gradients(block).T / head.n, tol=PCG_TOLERANCE)
        residuals[block] = solve.residuals
        iterations = max(iterations, solve.iterations)
        output.append(solve.solution.T)
    return residuals, iterations


def lissa_rows(head: LastLayer, output: Output, *, seed: int = 0) -> tuple[Float64, int]:
    """Fill ``output`` by LiSSA with batches of 256 samples.

    Returns
    -------
    residuals : (n,) float64
        With the Hessian of all samples.
    iterations : int
        Length of the recursion.

    Raises
    ------
    RuntimeError
        If the recursion diverges.
    """
    rng = np.random.default_rng(seed)
    residuals = np.full(head.n, np.nan)
    steps = 0
    for start in range(output.done, head.n, _LISSA_COLUMNS):
        block = np.arange(start, min(start + _LISSA_COLUMNS, head.n))
        rhs = head.gradients(block).T / head.n
        x, steps = lissa_solve(head, rhs, rng)
        residuals[block] = head.hessian.residuals(x, rhs)
        output.append(x.T)
    return residuals, steps


def lissa_solve(head: LastLayer, rhs: Float64, rng: np.random.Generator) -> tuple[Float64, int]:
    """``H^-1 B`` by LiSSA for B (N, columns), and the length of the recursion."""
    scale = _LISSA_MARGIN * head.hessian.largest_eigenvalue
    contraction = head.weight_decay / scale
    steps = min(_LISSA_MOST_STEPS, math.ceil(math.log(1 / _LISSA_TOLERANCE) / contraction))
    # |x| <= |v| / contraction as long as the recursion contracts.
    bound = 10.0 * np.linalg.norm(rhs) / contraction
    x = rhs.copy()
    for step in range(steps):
        batch = rng.choice(head.n, min(_LISSA_BATCH, head.n), replace=False)
        x += rhs - _of_samples(head, batch).product(x) / scale
        if not np.linalg.norm(x) <= bound:
            raise RuntimeError(
                f"LiSSA diverged after {step + 1} steps at scale {scale:.3g}: batches of "
                f"{_LISSA_BATCH} samples have a larger curvature than the data set; use "
                "method='pcg'"
            )
    return x / scale, steps


def _of_samples(head: LastLayer, samples: np.typing.NDArray[np.int64]) -> Curvature:
    """The Hessian of some samples' mean loss."""
    weights = None if head.sample_weights is None else head.sample_weights[samples]
    design = Design(head.features[samples], weights)
    return Hessian(design, head.probabilities[samples], head.weight_decay)
