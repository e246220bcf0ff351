"""Samples drawn by their energy stand for all of them."""

import numpy as np
import pytest

import dprune
import influence_oracle as oracle
from dprune import sketch
from dprune.row_sampling import inclusion_probabilities, sampled_head


@pytest.fixture(scope="module")
def digits():
    return oracle.head("digits", 1e-2, 600)


def test_probabilities_follow_the_energies():
    energies = np.array([1e6, 4.0, 2.0, 1.0, 1.0, 0.0])
    q = inclusion_probabilities(energies, 3)
    assert q.sum() == pytest.approx(3)
    assert q[0] == 1.0
    assert (np.diff(q[1:]) <= 0).all()
    assert q[-1] > 0
    np.testing.assert_array_equal(inclusion_probabilities(np.zeros(4), 2), np.full(4, 0.5))
    np.testing.assert_array_equal(inclusion_probabilities(energies, 6), np.ones(6))


def test_the_second_moment_of_rows_is_unbiased(digits):
    """Over many draws the weighted gradients have the second moment of all of them."""
    rng = np.random.default_rng(0)
    G = digits.gradients(np.arange(digits.n))
    truth = G.T @ G
    total = np.zeros_like(truth)
    for _ in range(100):
        drawn = sampled_head(digits, digits.hessian.precondition, 150, rng)
        assert 100 < drawn.n < 200
        part = drawn.gradients(np.arange(drawn.n))
        total += part.T @ part
    assert np.linalg.norm(total / 100 - truth) < 0.1 * np.linalg.norm(truth)


def test_all_samples_where_few_would_be_left_out(digits):
    rng = np.random.default_rng(0)
    assert sampled_head(digits, lambda v: v, digits.n // 2 + 1, rng) is digits


@pytest.mark.parametrize("weighted", [False, True])
def test_a_sketch_searched_on_samples_leaves_out_no_more(digits, weighted, monkeypatch):
    """Within a tenth of what the best directions leave out, and said without bias."""
    head = digits
    if weighted:
        weights = np.random.default_rng(1).uniform(0.5, 2.0, digits.n)
        head = dprune.LastLayer.fit(digits.features, digits.labels, 1e-2, sample_weights=weights)
    S = oracle.in_contrasts(head, oracle.rows(head))
    energy = np.linalg.svd(S, compute_uv=False) ** 2
    best = energy[30:].sum() / energy.sum()
    monkeypatch.setattr(sketch, "_SEARCH_SAMPLES", 9)
    monkeypatch.setattr(sketch, "_LEAST_SEARCH_SAMPLES", 1)
    found = dprune.influence(head, "dense", rank=30)
    np.testing.assert_allclose(found.rows, S @ found.basis, atol=1e-3 * np.abs(S).max())
    left_out = 1 - np.sum(found.rows.astype(float) ** 2) / energy.sum()
    assert left_out < 1.1 * best
    assert found.left_out == pytest.approx(left_out, rel=0.25)
