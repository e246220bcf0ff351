"""Factored rows give what their dense matrix gives."""

from __future__ import annotations

import numpy as np
import pytest

import dprune
from dprune import _core


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    b = rng.standard_normal((300, 7), dtype=np.float32)
    a = np.maximum(rng.standard_normal((300, 12), dtype=np.float32), 0)
    a[:, -1] = 1.0
    return dprune.FactoredRows(b, a)


def test_array(rows):
    dense = np.asarray(rows)
    assert dense.shape == rows.shape == (300, 84)
    np.testing.assert_array_equal(dense[5].reshape(7, 12), np.outer(rows.b[5], rows.a[5]))
    np.testing.assert_array_equal(np.asarray(rows[[3, 8]]), dense[[3, 8]])


@pytest.mark.parametrize("solver", ["block", "anneal"])
@pytest.mark.parametrize("reweight", [0.0, 1.0])
def test_prune_equals_the_dense_answer(rows, solver, reweight):
    rules = {"groups": np.arange(300) % 3, "balance": "proportional", "reweight": reweight}
    r = dprune.prune(rows, m=120, sweeps=300, solver=solver, **rules)
    dense = np.asarray(rows, dtype=np.float64)
    total = dense[r.removed].sum(axis=0)
    centred = total - reweight * 120 * dense.mean(axis=0)
    assert r.raw_norm == pytest.approx(np.linalg.norm(total), rel=1e-10)
    assert r.norm == pytest.approx(np.linalg.norm(centred) / (1 - reweight * 0.4), rel=1e-9)
    other = dprune.prune(np.asarray(rows), m=120, sweeps=300, solver=solver, **rules)
    assert r.random_norm == pytest.approx(other.random_norm, rel=1e-6)
    assert r.norm == pytest.approx(other.norm, rel=0.3)
    assert r.norm < 0.6 * r.random_norm


def test_moments(rows):
    dense = np.asarray(rows, dtype=np.float64)
    store = _core.FactoredRows(rows.b, rows.a)
    assert store.shape == (300, 84)
    r = dprune.prune(rows, 5.0, reweight=0.5, sweeps=50)
    assert r.norm <= 5.0
    W = r.mask.astype(float)
    exact = np.linalg.norm(W @ (dense - 0.5 * dense.mean(axis=0))) / (1 - 0.5 * W.mean())
    assert r.norm == pytest.approx(exact, rel=1e-9)


def test_influence_rows_by_kfac(digits_head):
    S = dprune.influence(digits_head, "kfac")
    r = dprune.prune(S, fraction=0.5, reweight=1, sweeps=300)
    assert r.settings["dtype"] == "float32 factors"
    # The rows are approximate; one exact solve says what the answer is worth.
    check = dprune.refit_check(digits_head, r.kept)
    assert r.exact_norm == pytest.approx(check.predicted, rel=1e-6)
    assert check.change < 0.6 * check.random_change


def test_choose_reweight_takes_them(rows):
    choice = dprune.choose_reweight(
        rows, np.arange(300) % 3, 100, lambda kept, _: -float(len(kept)), sweeps=5
    )
    assert len(choice.scores) == 3


def factors(n, k, d):
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((n, k), dtype=np.float32),
        rng.standard_normal((n, d), dtype=np.float32),
    )


def test_factored_rows_same_bits_on_any_threads():
    rows = dprune.FactoredRows(*factors(4000, 4, 30))
    masks = [dprune.prune(rows, m=900, sweeps=15, threads=threads).mask for threads in (1, 2, 7)]
    assert all((mask == masks[0]).all() for mask in masks[1:])


def test_factored_rows_within_eps():
    b, a = factors(400, 3, 8)
    r = dprune.prune(dprune.FactoredRows(b + 0.5, a + 0.5), 60.0, sweeps=300)
    assert r.norm <= 60.0
    assert 0 < len(r.removed) <= r.upper_bound


@pytest.mark.parametrize(
    ("b", "a", "error", "match"),
    [
        (np.zeros((3, 2)), np.zeros((3, 2), "f"), TypeError, "b must be a float32 array.*float64"),
        (np.zeros((3, 2), "f"), np.zeros((2, 3), "f").T, TypeError, "a must be C-contiguous"),
        (np.zeros((3, 2), "f"), np.zeros((4, 2), "f"), ValueError, "a must have as many rows"),
        (np.zeros((3, 2), "f"), np.zeros(3, "f"), ValueError, "a must be a matrix"),
        ([[1.0]], np.zeros((1, 1), "f"), TypeError, "b must be a float32 array, found list"),
    ],
)
def test_bad_input(b, a, error, match):
    with pytest.raises(error, match=match):
        dprune.FactoredRows(b, a)


def test_not_finite(rows):
    b = rows.b.copy()
    b[17, 3] = np.nan
    with pytest.raises(ValueError, match=r"S must be finite.*row 17"):
        dprune.prune(dprune.FactoredRows(b, rows.a), m=3)
