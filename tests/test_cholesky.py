"""The blocked Cholesky factor against LAPACK's."""

import numpy as np
import pytest

from dprune import cholesky
from dprune.cholesky import Cholesky


def matrix(n, seed=0):
    rng = np.random.default_rng(seed)
    half = rng.standard_normal((n, n + 5))
    return half @ half.T / n + 0.01 * np.eye(n)


# Below a leaf, one, just above, a power of two of them, and ragged.
@pytest.mark.parametrize("n", [1, 7, 8, 9, 16, 17, 31, 64, 77])
def test_solves_and_factor(n, monkeypatch):
    monkeypatch.setattr(cholesky, "_LEAF", 8)
    monkeypatch.setattr(cholesky, "_UPDATE_ROWS", 10)
    H = matrix(n)
    factor = Cholesky(H.copy())
    np.testing.assert_allclose(factor.diagonal, np.diagonal(np.linalg.cholesky(H)), rtol=1e-10)
    B = np.random.default_rng(1).standard_normal((5, n))
    found = B.copy()
    factor.solve_rows(found)
    np.testing.assert_allclose(found, np.linalg.solve(H, B.T).T, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(factor.inverse(), np.linalg.inv(H), rtol=1e-8, atol=1e-8)


def test_single_precision():
    H = matrix(600)
    factor = Cholesky(H.copy())
    single = factor.astype(np.float32)
    assert factor.astype(np.float64) is factor
    B = np.random.default_rng(1).standard_normal((3, 600)).astype(np.float32)
    found = B.copy()
    single.solve_rows(found)
    assert found.dtype == np.float32
    truth = np.linalg.solve(H, B.astype(float).T).T
    assert np.linalg.norm(found - truth) <= 1e-4 * np.linalg.norm(truth)


@pytest.mark.parametrize("where", [3, 400])
def test_indefinite(where):
    H = matrix(500)
    H[where, where] = -1.0
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        Cholesky(H)
