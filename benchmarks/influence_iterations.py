"""Iterations to a relative residual of 1e-4, on a trained network's features and on Gaussian ones.

python benchmarks/influence_iterations.py

Conjugate gradients, one row at a time (the slowest of 16 counts): plain; preconditioned in the
eigenbasis of the Kronecker factors, as dprune does; with the feature factor weighted by curvature;
with the exact diagonal of the Hessian in that basis; by a Nystroem approximation of rank 100. Then
what influence(method="pcg") does: the Kronecker preconditioner with directions shared by blocks of
16, 64 and 256 rows. Then LiSSA's recursion with the Hessian of all samples (its best case: no noise
of batches), scale 1.2 lambda_max; and as the paper runs it, with batches of 256, and the residual
that remains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import digits_network
import dprune
from dprune import iterative
from dprune.conjugate_gradients import block_conjugate_gradients
from dprune.curvature import Hessian
from dprune.design import Design

TOLERANCE = 1e-4
MOST = 1_000_000
LAMBDAS = (1e-2, 1e-3, 1e-4, 1e-5)
BLOCKS = (16, 64, 256)
Operator = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    print(
        "| features | lam | condition | plain | Kronecker | weighted | + diagonal | Nystroem | "
        "blocks of 16, 64, 256 | LiSSA, all samples | batches: steps, residual |"
    )
    print("|---|" + "---|" * 10)
    for name, head in heads():
        rhs = head.gradients(across(head, 16))
        H = head.hessian.dense()
        top = np.linalg.eigvalsh(H)[-1]
        counts = [
            max(steps(H, row[None], preconditioner) for row in rhs)
            for preconditioner in preconditioners(head, H)
        ]
        blocks = [
            head.hessian.solve(head.gradients(across(head, size)).T, tol=TOLERANCE)
            for size in BLOCKS
        ]
        assert max(block.residuals.max() for block in blocks) < 1.01 * TOLERANCE
        x, length = iterative.lissa_solve(head, rhs.T, np.random.default_rng(0))
        print(
            f"| {name} | {head.weight_decay:g} | {top / head.weight_decay:.0f} | "
            f"{' | '.join(map(str, counts))} | {', '.join(str(b.iterations) for b in blocks)} | "
            f"{neumann(H, rhs.T, 1.2 * top)} | "
            f"{length}, {head.hessian.residuals(x, rhs.T).max():.1e} |",
            flush=True,
        )


def heads() -> Iterator[tuple[str, dprune.LastLayer]]:
    model, digits = digits_network.network()
    for lam in LAMBDAS:
        yield "digits", digits_network.head(model, digits, lam)[0]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 128)) * np.arange(1, 129) ** -0.5
    X = np.maximum(X, 0).astype(np.float32)
    y = np.argmax(X @ (3 * rng.standard_normal((10, 128))).T + rng.gumbel(size=(2000, 10)), axis=1)
    for lam in LAMBDAS:
        yield "Gaussian", dprune.LastLayer.fit(X, y, lam)


def across(head: dprune.LastLayer, count: int) -> np.ndarray:
    return np.linspace(0, head.n - 1, count).astype(np.int64)


def steps(H: np.ndarray, rhs: np.ndarray, preconditioner: Operator) -> int:
    return block_conjugate_gradients(lambda v: v @ H, preconditioner, rhs, TOLERANCE, 20_000)[1]


def preconditioners(head: dprune.LastLayer, H: np.ndarray) -> Iterator[Operator]:
    hessian = head.hessian
    assert isinstance(hessian, Hessian)
    yield lambda v: v
    yield lambda v: hessian.precondition(v.T).T
    curvature = 1.0 - np.sum(hessian.probabilities**2, axis=1)
    weighted = Design(head.features, curvature / curvature.mean()).second_moment
    alpha, U = np.linalg.eigh(weighted)
    beta, V = np.linalg.eigh(hessian.class_factor)
    yield in_basis(V, U, np.outer(beta, alpha) + head.weight_decay)
    q = hessian.contrasts @ V
    p = hessian.probabilities
    spread = p @ q**2 - (p @ q) ** 2
    diagonal = spread.T @ (np.asarray(head.design) @ U) ** 2 / head.n + head.weight_decay
    yield in_basis(V, U, diagonal)
    yield nystroem(H, head.weight_decay, 100)


def in_basis(V: np.ndarray, U: np.ndarray, diagonal: np.ndarray) -> Operator:
    def apply(rows: np.ndarray) -> np.ndarray:
        turned = V.T @ rows.reshape(-1, *diagonal.shape) @ U / diagonal
        return (V @ turned @ U.T).reshape(len(rows), -1)

    return apply


def nystroem(H: np.ndarray, lam: float, rank: int) -> Operator:
    """Randomised Nystroem preconditioner (Frangella, Tropp and Udell, 2023)."""
    test = np.linalg.qr(np.random.default_rng(0).standard_normal((len(H), rank)))[0]
    image = H @ test - lam * test
    shift = 1e-10 * np.linalg.norm(image)
    image += shift * test
    half = np.linalg.solve(np.linalg.cholesky(test.T @ image), image.T).T
    U, singular, _ = np.linalg.svd(half, full_matrices=False)
    values = np.maximum(singular**2 - shift, 0.0)
    scale = (values[-1] + lam) / (values + lam) - 1.0
    return lambda rows: rows + (rows @ U * scale) @ U.T


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
