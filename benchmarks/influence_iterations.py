"""Iterations to a relative residual of 1e-4 on the features of a network trained on digits.

python benchmarks/influence_iterations.py

pcg, plain conjugate gradients, and LiSSA's recursion with the Hessian of all samples (its best
case: no noise of batches), scale 1.2 lambda_max; then LiSSA as the paper runs it, with batches of
256, and the residual that remains. 16 rows across the data set, the slowest counts.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse.linalg

import digits_network
from dprune import iterative

TOLERANCE = 1e-4
MOST = 1_000_000


def main() -> None:
    model, digits = digits_network.network()
    print("| lam | condition | pcg | plain cg | LiSSA, all samples | batches: steps, residual |")
    print("|---|---|---|---|---|---|")
    for lam in (1e-2, 1e-3, 1e-4, 1e-5):
        head, _ = digits_network.head(model, digits, lam)
        rows = np.linspace(0, head.n - 1, 16).astype(np.int64)
        rhs = head.gradients(rows).T / head.n
        pcg = head.hessian.solve(rhs, tol=TOLERANCE)
        assert pcg.residuals.max() < 1.01 * TOLERANCE
        H = head.hessian.dense()
        top = np.linalg.eigvalsh(H)[-1]
        x, steps = iterative.lissa_solve(head, rhs, np.random.default_rng(0))
        print(
            f"| {lam:g} | {top / lam:.0f} | {pcg.iterations} | {plain(H, rhs)} | "
            f"{neumann(H, rhs, 1.2 * top)} | {steps}, {head.hessian.residuals(x, rhs).max():.1e} |",
            flush=True,
        )


def plain(H: np.ndarray, rhs: np.ndarray) -> int:
    """Conjugate gradients without a preconditioner."""
    most = 0
    for b in rhs.T:
        count = 0

        def step(_: np.ndarray) -> None:
            nonlocal count
            count += 1

        scipy.sparse.linalg.cg(H, b, rtol=TOLERANCE, maxiter=20_000, callback=step)
        most = max(most, count)
    return most


def neumann(H: np.ndarray, rhs: np.ndarray, scale: float) -> int:
    """Steps of x <- b + (I - H / scale) x, from its closed form in the eigenbasis.

    After j steps the residual is (I - H / scale)^(j + 1) b.
    """
    values, vectors = np.linalg.eigh(H)
    coefficients = vectors.T @ rhs
    norms = np.linalg.norm(rhs, axis=0)
    low, high = 1, MOST
    while low < high:
        middle = (low + high) // 2
        left = (1 - values[:, None] / scale) ** (middle + 1) * coefficients
        done = (np.linalg.norm(left, axis=0) <= TOLERANCE * norms).all()
        low, high = (low, middle) if done else (middle + 1, high)
    return low


if __name__ == "__main__":
    main()
