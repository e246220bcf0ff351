"""Influence rows and their parts at n = 2,000, d = 256, C = 10, lam = 1e-3. `make bench`."""

from __future__ import annotations

import numpy as np
import pytest

import dprune
from dprune import _core
from dprune.curvature import Hessian

N, D, C, LAM = 2000, 256, 10, 1e-3
COLUMNS = 64


@pytest.fixture(scope="module")
def head():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)) * np.arange(1, D + 1) ** -0.5
    X = np.maximum(X, 0).astype(np.float32)
    planted = 3 * rng.standard_normal((C, D))
    y = np.argmax(X @ planted.T + rng.gumbel(size=(N, C)), axis=1)
    return dprune.LastLayer.fit(X, y, LAM)


@pytest.fixture(scope="module")
def truth(head):
    rows = np.arange(0, N, 50)
    rhs = head.gradients(rows).T / N
    return rows, np.linalg.solve(head.hessian.dense(), rhs).T


@pytest.mark.parametrize(("method", "allowed"), [("dense", 1e-5), ("kfac", 1.5)])
@pytest.mark.benchmark(group=f"influence rows, n = {N}, N = {(C - 1) * (D + 1)}")
def test_rows(benchmark, head, truth, method, allowed):
    def run():
        # A fresh head: nothing that an earlier round has computed is used again.
        fresh = dprune.LastLayer(head.features, head.labels, LAM, head.theta)
        return dprune.influence(fresh, method)

    S = benchmark.pedantic(run, rounds=3)
    rows, expected = truth
    error = np.linalg.norm(np.asarray(S)[rows] - expected, axis=1)
    assert (error <= allowed * np.linalg.norm(expected, axis=1)).all()
    benchmark.extra_info["measured error"] = f"{S.error:.1e}"


@pytest.mark.benchmark(group=f"influence rows, n = {N}, N = {(C - 1) * (D + 1)}")
def test_pcg_of_40_rows(benchmark, head, truth):
    rows, expected = truth
    rhs = head.gradients(rows).T / N
    solve = benchmark.pedantic(lambda: head.hessian.solve(rhs, tol=1e-4), rounds=3)
    assert solve.iterations <= 30
    assert solve.residuals.max() < 1.01e-4
    gap = np.linalg.norm(solve.solution.T - expected)
    assert gap <= 1e-3 * np.linalg.norm(expected)
    benchmark.extra_info["iterations"] = solve.iterations


def product_by_numpy(hessian: Hessian, vectors: np.ndarray) -> np.ndarray:
    """The same product with the softmax curvature applied by NumPy."""
    k, width = hessian.shape
    x = np.asarray(hessian.design)
    blocks = (hessian.contrasts @ vectors.T.reshape(-1, k, width)).reshape(-1, width)
    z = (x @ blocks.T).reshape(N, -1, C)
    p = hessian.probabilities[:, None, :]
    z *= p
    z -= p * z.sum(axis=2, keepdims=True)
    out = (z.reshape(N, -1).T @ x).reshape(-1, C, width)
    turned = (hessian.contrasts.T @ out).reshape(vectors.shape[1], -1).T
    return turned / N + hessian.weight_decay * vectors


@pytest.mark.parametrize("way", ["native", "numpy"])
@pytest.mark.benchmark(group=f"Hessian times {COLUMNS} vectors")
def test_product(benchmark, head, way):
    V = np.random.default_rng(0).standard_normal((head.hessian.width, COLUMNS))
    product = (
        head.hessian.product if way == "native" else lambda V: product_by_numpy(head.hessian, V)
    )
    found = benchmark.pedantic(lambda: product(V), rounds=7, warmup_rounds=1)
    np.testing.assert_allclose(found, product_by_numpy(head.hessian, V), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("way", ["native", "numpy"])
@pytest.mark.benchmark(group=f"softmax curvature of {COLUMNS} logit vectors")
def test_softmax_curvature(benchmark, head, way):
    p = head.probabilities
    values = np.random.default_rng(0).standard_normal((N, COLUMNS * C))

    def by_numpy(z):
        z = z.reshape(N, COLUMNS, C)
        z *= p[:, None]
        z -= p[:, None] * z.sum(axis=2, keepdims=True)

    def native(z):
        _core.softmax_curvature(p, None, z, 1)

    run = native if way == "native" else by_numpy
    first, second = values.copy(), values.copy()
    native(first)
    by_numpy(second)
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-12)
    benchmark.pedantic(run, setup=lambda: ((values.copy(),), {}), rounds=9)
