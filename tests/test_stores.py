"""Row stores: factored rows give what the same rows multiplied out give."""

import numpy as np
import pytest

import dprune


def factors(n, k, d, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((n, k)).astype(np.float32),
        rng.standard_normal((n, d)).astype(np.float32),
    )


@pytest.mark.parametrize("reweight", [0.0, 1.0])
@pytest.mark.parametrize(("n", "k", "d"), [(14, 2, 3), (3000, 5, 37)])
def test_factored_rows_agree_with_dense_ones(n, k, d, reweight):
    b, a = factors(n, k, d)
    S = np.einsum("ik,ij->ikj", b, a).reshape(n, -1)
    labels = np.arange(n) % 3
    r = dprune.prune(
        dprune.FactoredRows(b, a), m=n // 3, groups=labels, reweight=reweight, sweeps=60
    )
    u = S[r.removed].astype(float).sum(axis=0) - reweight * len(r.removed) * S.astype(float).mean(0)
    assert r.norm == pytest.approx(np.linalg.norm(u) / (1 - reweight * (n // 3) / n), rel=1e-5)
    dense = dprune.prune(S, m=n // 3, groups=labels, reweight=reweight, sweeps=60)
    assert r.random_norm == pytest.approx(dense.random_norm, rel=1e-5)
    assert r.norm < 1.2 * dense.norm


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
        (np.ones((3, 2)), np.ones((3, 2), np.float32), TypeError, "b must be a float32.*float64"),
        (np.ones((3, 2), np.float32), np.ones(3, np.float32), ValueError, "a must be a matrix"),
        (np.ones((3, 2), np.float32), np.ones((4, 2), np.float32), ValueError, "3 and 4"),
    ],
)
def test_bad_factors(b, a, error, match):
    with pytest.raises(error, match=match):
        dprune.FactoredRows(b, a)
