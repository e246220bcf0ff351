"""Influence rows against a dense float64 Hessian written out entry by entry."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import dprune
import oracle
from conftest import LOADERS, load_scaled
from dprune.curvature import Hessian
from dprune.design import Design


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("weight_decay", [1e-2, 1e-3])
def test_rows_equal_the_oracle(name, weight_decay):
    X, y = load_scaled(name)
    X, y = X[:400], y[:400]
    head = dprune.LastLayer.fit(X, y, weight_decay)
    S = dprune.influence(head)
    expected = oracle.influence_rows(X, y, head.theta, weight_decay)
    error = np.linalg.norm(S.expand() - expected, axis=1)
    assert (error <= 1e-5 * np.linalg.norm(expected, axis=1)).all()
    # Orthonormal contrasts keep norms and inner products.
    np.testing.assert_allclose(
        S.rows @ S.rows.T, expected @ expected.T, atol=1e-6 * (expected**2).sum(axis=1).max()
    )
    assert S.error < 1e-5
    assert S.residuals.max() < 1e-3


@pytest.mark.parametrize("name", LOADERS)
def test_rows_sum_to_the_pull_of_the_weight_decay(name):
    X, y = load_scaled(name)
    head = dprune.LastLayer.fit(X, y, 1e-2)
    q = head.hessian.contrasts
    pull = -1e-2 * np.linalg.solve(head.hessian.dense(), (q.T @ head.theta).ravel())
    total = dprune.influence(head).rows.sum(axis=0, dtype=np.float64)
    assert np.linalg.norm(total - pull) <= 1e-6 * np.linalg.norm(pull)


def test_rows_do_not_depend_on_the_block_size(digits_head, digits_rows, monkeypatch):
    truth = digits_rows.rows
    for block in (64, 100, 1257):
        monkeypatch.setattr(sys.modules["dprune.direct"], "_BLOCK_ENTRIES", block * truth.shape[1])
        gap = np.linalg.norm(dprune.influence(digits_head).rows - truth, axis=1)
        assert (gap <= 1e-5 * np.linalg.norm(truth, axis=1)).all()


def test_rows_do_not_depend_on_the_order(digits, digits_rows):
    order = np.random.default_rng(3).permutation(1257)
    head = dprune.LastLayer.fit(digits[0][order], digits[1][order], 1e-2)
    rows = dprune.influence(head).rows
    scale = np.linalg.norm(digits_rows.rows, axis=1).max()
    np.testing.assert_allclose(rows, digits_rows.rows[order], atol=1e-6 * scale)


def test_out(digits_head, digits_rows, tmp_path):
    out = np.lib.format.open_memmap(
        tmp_path / "S.npy", mode="w+", dtype=np.float32, shape=digits_rows.shape
    )
    S = dprune.influence(digits_head, out=out)
    assert S.rows is out
    np.testing.assert_array_equal(np.load(tmp_path / "S.npy"), digits_rows.rows)


def test_array_protocol(digits_rows):
    assert np.asarray(digits_rows) is digits_rows.rows
    assert np.asarray(digits_rows, dtype=np.float64).dtype == np.float64
    assert digits_rows.shape == (1257, 9 * 65) == digits_rows.rows.shape
    assert digits_rows.dtype == np.float32
    assert not digits_rows.approximate


def test_bad_input(digits_head):
    with pytest.raises(
        ValueError, match=r"method must be one of auto, dense, pcg, lissa, kfac, found"
    ):
        dprune.influence(digits_head, method="magic")
    with pytest.raises(ValueError, match="out must be a C-contiguous float32"):
        dprune.influence(digits_head, out=np.zeros((3, 3), dtype=np.float32))


def test_hessian_forms_agree():
    X, y = load_scaled("wine")
    hessian = dprune.LastLayer.fit(X, y, 1e-2).hessian
    V = np.random.default_rng(0).standard_normal((hessian.width, 5))
    dense = hessian.dense()
    np.testing.assert_allclose(hessian.product(V), dense @ V, rtol=1e-10, atol=1e-12)
    solve = hessian.solve(V, tol=1e-12)
    np.testing.assert_allclose(solve.solution, np.linalg.solve(dense, V), rtol=1e-8, atol=1e-8)
    assert solve.residuals.max() < 1e-11


def test_preconditioner_is_exact_for_kronecker_products():
    """Where the probabilities are the same for all samples, H - lam I is one Kronecker product."""
    X, _ = load_scaled("wine")
    probabilities = np.tile([0.2, 0.3, 0.5], (len(X), 1))
    # B is E[diag p] - E[p] E[p]^T exactly, one step solves.
    hessian = Hessian(Design(X), probabilities, 1e-3)
    V = np.random.default_rng(0).standard_normal((hessian.width, 3))
    solve = hessian.solve(V, tol=1e-10)
    assert solve.iterations == 1
    np.testing.assert_allclose(hessian.product(solve.solution), V, atol=1e-8)


def test_unfinished_solves_say_so():
    X, y = load_scaled("wine")
    hessian = dprune.LastLayer.fit(X, y, 1e-4).hessian
    solve = hessian.solve(np.ones((hessian.width, 1)), max_iterations=2)
    assert solve.iterations == 2
    assert solve.residuals[0] > 1e-6
