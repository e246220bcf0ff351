"""The refit check on digits, against the figures of the project's design and plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import dprune
import oracle


@pytest.fixture(scope="module")
def half(digits_head, digits_rows, digits):
    """Half removed with reweight 1, checked."""
    result = dprune.prune(digits_rows, fraction=0.5, reweight=1, sweeps=4000)
    return result, dprune.refit_check(digits_head, result.kept, test=digits[2:])


def test_the_promise_on_digits(half):
    """Predicted within 5 % of measured, and at most a third of random's."""
    result, check = half
    assert check.predicted == pytest.approx(result.norm, rel=1e-5)
    assert check.change == pytest.approx(check.predicted, rel=0.05)
    assert check.change <= check.random_change / 3
    assert check.change <= 0.22  # a plain solver's 0.216
    assert check.newton == pytest.approx(check.change, rel=0.02)
    assert 0 < check.residual < 1.1e-9


def test_change_is_measured_on_a_fresh_head(half, digits):
    result, check = half
    X, y = digits[:2]
    before = dprune.LastLayer.fit(X, y, 1e-2)
    after = dprune.LastLayer.fit(X[result.kept], y[result.kept], 1e-2)
    assert check.change == pytest.approx(np.linalg.norm(after.theta - before.theta), rel=1e-5)


def test_gap_and_bounds(half, digits_head, digits):
    _, check = half
    X, y = digits[2:]
    h = np.hstack([X.astype(float), np.ones((len(X), 1))])
    g = (oracle.softmax(h @ digits_head.theta.T) - np.eye(10)[y]).T @ h / len(X)
    assert check.first_order_bound == pytest.approx(np.linalg.norm(g) * check.change, rel=1e-9)
    curvature = np.linalg.eigvalsh(h.T @ h / len(X)).max()
    assert check.bound == pytest.approx(
        check.first_order_bound + curvature * check.change**2 / 4, rel=1e-9
    )
    assert check.test_gap == pytest.approx(abs(check.test_loss_kept - check.test_loss))
    assert check.test_gap <= check.bound


@pytest.mark.parametrize("removed", [0.1, 0.9])
def test_bound_holds_for_random_subsets(removed, digits_head, digits):
    kept = np.random.default_rng(0).permutation(1257)[: round(1257 * (1 - removed))]
    check = dprune.refit_check(digits_head, kept, test=digits[2:], draws=0)
    assert 0 < check.test_gap <= check.bound
    assert np.isnan(check.random_change)


def test_keeping_everything_changes_nothing(digits_head):
    check = dprune.refit_check(digits_head, np.arange(1257), draws=0)
    assert check.change < 1e-6
    assert check.predicted == 0.0
    assert check.test_gap is None


@pytest.mark.parametrize(
    ("kept", "match"),
    [
        ([], "at least one"),
        ([1, 1], "distinct"),
        ([0, 1257], "kept must lie in 0..1256, found 0..1257"),
        ([-1, 3], "found -1..3"),
        ([0.5], "sample indices"),
    ],
)
def test_bad_kept(kept, match, digits_head):
    with pytest.raises(ValueError, match=match):
        dprune.refit_check(digits_head, kept)
