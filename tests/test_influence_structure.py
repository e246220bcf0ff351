"""The structured Hessian at random shapes, against sums over samples written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
from dprune.assembly import softmax_hessian
from dprune.curvature import Hessian, SquaredHessian, contrasts
from dprune.design import Design

shapes = st.tuples(
    st.integers(1, 30), st.integers(1, 9), st.integers(2, 6), st.booleans(), st.integers(0, 99)
)


def case(shape):
    n, d, classes, weighted, seed = shape
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, d)).astype(np.float32)
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    p = oracle.softmax(4 * rng.standard_normal((n, classes)))
    h = np.hstack([features.astype(float), np.ones((n, 1))])
    w = np.ones(n) if weights is None else weights
    blocks = w[:, None, None] * (p[:, :, None] * np.eye(classes) - p[:, :, None] * p[:, None])
    q = contrasts(classes)
    full = np.einsum("ca,ncd,db,ni,nj->aibj", q, blocks, q, h, h, optimize=True) / n
    matrix = full.reshape(full.shape[0] * full.shape[1], -1) + 0.1 * np.eye(q.shape[1] * (d + 1))
    return Hessian(Design(features, weights), p, 0.1), matrix, rng


@given(shapes)
@settings(deadline=None, max_examples=60)
def test_forms_of_the_hessian(shape):
    hessian, matrix, rng = case(shape)
    vectors = rng.standard_normal((hessian.width, 3))
    np.testing.assert_allclose(hessian.dense(), matrix, atol=1e-12)
    np.testing.assert_allclose(hessian.product(vectors), matrix @ vectors, atol=1e-11)
    solve = hessian.solve(vectors, tol=1e-12)
    np.testing.assert_allclose(solve.solution, np.linalg.solve(matrix, vectors), atol=1e-8)
    top = np.linalg.eigvalsh(matrix)[-1]
    assert hessian.largest_eigenvalue == pytest.approx(top, rel=1e-3)


@given(shapes)
@settings(deadline=None, max_examples=30)
def test_squared_loss(shape):
    n, d, classes, weighted, seed = shape
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, d)).astype(np.float32)
    weights = rng.uniform(0.5, 2.0, n) if weighted else None
    h = np.hstack([features.astype(float), np.ones((n, 1))])
    w = np.ones(n) if weights is None else weights
    block = (h * w[:, None]).T @ h / n + 0.1 * np.eye(d + 1)
    matrix = np.kron(np.eye(classes), block)
    hessian = SquaredHessian(Design(features, weights), classes, 0.1)
    vectors = rng.standard_normal((hessian.width, 3))
    np.testing.assert_allclose(hessian.product(vectors), matrix @ vectors, atol=1e-11)
    solve = hessian.solve(vectors)
    np.testing.assert_allclose(solve.solution, np.linalg.solve(matrix, vectors), atol=1e-9)
    assert solve.residuals.max() < 1e-12


def test_both_ways_of_assembly():
    """Wide features are summed pair by pair of classes, narrow ones all at once."""
    rng = np.random.default_rng(0)
    p = oracle.softmax(3 * rng.standard_normal((50, 4)))
    q = contrasts(4)
    for width in (20, 200):
        x = rng.standard_normal((50, width))
        curvature = p[:, :, None] * np.eye(4) - p[:, :, None] * p[:, None]
        full = np.einsum("ca,ncd,db,ni,nj->aibj", q, curvature, q, x, x, optimize=True) / 50
        full = full.reshape(3 * width, 3 * width)
        np.testing.assert_allclose(softmax_hessian(x, p, q), full, atol=1e-12)
        single = softmax_hessian(x.astype(np.float32), p, q)
        np.testing.assert_allclose(single, full, atol=1e-6)


def test_saturated_probabilities_do_not_cancel():
    """Curvatures of 1e-12 keep their relative accuracy."""
    rng = np.random.default_rng(0)
    small = 1e-12 * rng.uniform(1, 2, (40, 2))
    p = np.column_stack([1 - small.sum(axis=1), small])
    x = rng.standard_normal((40, 5))
    q = contrasts(3)
    # To first order the curvature is that of a star around the first class.
    star = np.zeros((40, 3, 3))
    star[:, [1, 2], [1, 2]] = small
    star[:, 0, [1, 2]] = star[:, [1, 2], 0] = -small
    star[:, 0, 0] = small.sum(axis=1)
    expected = np.einsum("ca,ncd,db,ni,nj->aibj", q, star, q, x, x, optimize=True) / 40
    found = softmax_hessian(x, p, q)
    np.testing.assert_allclose(found, expected.reshape(10, 10), rtol=1e-6, atol=1e-18)
