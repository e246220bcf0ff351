"""The metric that block annealing walks in: what it promises, where it is used, what it buys."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dprune
from dprune import _core
from dprune.metric import metric
from dprune.sources import source_of


def rows(n, width, exponent, seed=0):
    S = np.random.default_rng(seed).standard_normal((n, width), dtype=np.float32)
    return S * np.arange(1, width + 1, dtype=np.float32) ** np.float32(-exponent / 2)


def rotation(width):
    q, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((width, width)))
    return q.astype(np.float32)


def found(S, seconds=math.inf):
    source = source_of(S, 1)
    total = source.group_sums(np.zeros(source.n, dtype=np.int64), 1)[0]
    return metric(source, total / source.n, seconds)


def kind(S, seconds=math.inf):
    return found(S, seconds).kind


def test_kinds():
    steep = rows(3000, 60, 1.5)
    assert kind(steep) == "scaled"
    assert kind(np.ascontiguousarray(steep @ rotation(60))) == "rotated"
    assert kind(rows(3000, 60, 0.0)) == "euclidean"  # nothing to gain
    assert kind(steep[:100]) == "euclidean"  # few rows
    assert kind(steep, seconds=1e-4) == "euclidean"  # no time
    assert kind(np.zeros((3000, 4), dtype=np.float32)) == "euclidean"
    factored = dprune.FactoredRows(rows(3000, 5, 1.0, 2), rows(3000, 20, 1.5, 3))
    assert kind(factored) == "factored"


@pytest.mark.parametrize("turned", [False, True])
def test_rows_in_the_metric_are_rows_by_the_fourth_root(turned):
    """Their covariance is the square root of C up to a rotation: same spectrum, up to a factor."""
    S = rows(20_000, 12, 2.0)
    if turned:
        S = np.ascontiguousarray(S @ rotation(12))
    walked = found(S)
    assert walked.store is not None
    # Inner products with the unit vectors, through the store's own calls.
    sums = np.zeros((len(S) // 10, 12))
    walked.store.add_groups(np.where(np.arange(len(S)) % 10, -1, np.arange(len(S)) // 10), sums, 1)
    s = np.sqrt(np.linalg.eigvalsh(sums.T @ sums / len(sums))[::-1])
    expected = np.sqrt(np.arange(1, 13) ** -1.0)
    np.testing.assert_allclose(s / s[0], expected, rtol=0.1)


def test_mean_in_the_metric_is_the_mean_of_its_rows():
    S = rows(3000, 40, 1.5) + 0.3
    factored = dprune.FactoredRows(rows(3000, 5, 1.0, 2) + 0.1, rows(3000, 20, 1.5, 3) + 0.2)
    for given in (S, np.ascontiguousarray(S @ rotation(40)), factored):
        walked = found(given)
        assert walked.store is not None
        assert walked.mean is not None
        sums = np.zeros((1, walked.store.shape[1]))
        walked.store.add_groups(np.zeros(3000, dtype=np.int64), sums, 1)
        scale = np.abs(walked.mean).max()
        np.testing.assert_allclose(walked.mean, sums[0] / 3000, atol=1e-5 * scale)


def test_no_metric_where_large_rows_lie_in_other_directions_than_small_ones():
    length = np.exp(2 * np.random.default_rng(5).standard_normal((4000, 1))).astype(np.float32)
    steep = rows(4000, 60, 1.5)
    assert kind(steep * length) == "scaled"  # the same directions at every length
    large = length > 1
    assert kind(np.where(large, steep, steep[:, ::-1]) * length) == "euclidean"


def test_scaled_rows_are_the_scaled_matrix():
    S = rows(50, 21, 1.0)
    scale = np.random.default_rng(4).random(21, dtype=np.float32) + 0.5
    store = _core.ScaledRows(_core.DenseRows(S), scale)
    T = S.astype(np.float64) * scale
    np.testing.assert_allclose(store.squared_norms(2), (T**2).sum(axis=1), rtol=1e-6)
    sums = np.ones((2, 21))
    labels = np.arange(50) % 3 - 1
    store.add_groups(labels, sums, 2)
    np.testing.assert_allclose(
        sums, 1 + np.stack([T[labels == g].sum(axis=0) for g in (0, 1)]), rtol=1e-6, atol=1e-6
    )
    with pytest.raises(ValueError, match="scale must be a vector of 21"):
        _core.ScaledRows(_core.DenseRows(S), scale[:3])


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("reweight", [0.0, 1.0])
def test_steep_spectra_end_lower(turned, reweight):
    S = rows(6000, 300, 2.0)
    if turned:
        S = np.ascontiguousarray(S @ rotation(300))
    block = dprune.prune(S, fraction=0.4, reweight=reweight, sweeps=60)
    plain = dprune.prune(S, fraction=0.4, reweight=reweight, sweeps=60, solver="anneal")
    assert block.settings["metric"] == ("rotated" if turned else "scaled")
    assert block.norm < 0.6 * plain.norm
    u = S[block.removed].sum(axis=0, dtype=np.float64) - reweight * 2400 * S.mean(
        axis=0, dtype=np.float64
    )
    assert block.norm == pytest.approx(np.linalg.norm(u) / (1 - 0.4 * reweight), rel=1e-6)


def test_many_strata_end_on_their_quotas():
    rng = np.random.default_rng(0)
    labels = np.arange(2400) % 60
    S = (rng.standard_normal((2400, 40)) + 5 * rng.standard_normal((60, 40))[labels]).astype("f4")
    r = dprune.prune(S, fraction=0.3, groups=labels, balance="proportional", reweight=1, sweeps=100)
    assert (np.bincount(labels[r.removed]) == 12).all()
    assert r.norm < 0.6 * r.random_norm
