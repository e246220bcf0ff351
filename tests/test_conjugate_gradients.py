"""Block conjugate gradients against dense solves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dprune.conjugate_gradients import _orthonormal, block_conjugate_gradients

N = 60


def system(seed, condition=1e3):
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.standard_normal((N, N)))[0]
    return (q * np.geomspace(1.0, condition, N)) @ q.T, rng


def solve(matrix, rhs, tol=1e-8, most=500, preconditioner=None):
    inverse = np.eye(len(matrix)) if preconditioner is None else np.linalg.inv(preconditioner)
    return block_conjugate_gradients(lambda v: v @ matrix, lambda v: v @ inverse, rhs, tol, most)


@given(st.integers(0, 99), st.integers(1, 2 * N), st.floats(1.0, 1e5))
@settings(deadline=None, max_examples=40)
def test_solves(seed, rows, condition):
    matrix, rng = system(seed, condition)
    rhs = rng.standard_normal((rows, N)) * rng.lognormal(sigma=3, size=(rows, 1))
    found, _ = solve(matrix, rhs)
    gap = np.linalg.norm(found @ matrix - rhs, axis=1)
    assert (gap <= 1.1e-8 * np.linalg.norm(rhs, axis=1)).all()


def test_a_block_shares_its_directions():
    """A step of a block of b removes b directions: the exact solution after N / b steps."""
    matrix, rng = system(0)
    rhs = rng.standard_normal((20, N))
    _, steps = solve(matrix, rhs)
    assert steps <= N // 20
    assert solve(matrix, rhs[:1])[1] > 2 * steps


def test_one_row_is_classical_conjugate_gradients():
    """Iterates of one right-hand side minimise the error's energy over the Krylov space."""
    matrix, rng = system(1)
    rhs = rng.standard_normal((1, N))
    found, steps = solve(matrix, rhs, tol=0.0, most=5)
    assert steps == 5
    krylov = np.array([rhs[0] @ np.linalg.matrix_power(matrix, j) for j in range(5)])
    basis = np.linalg.qr(krylov.T)[0].T
    best = np.linalg.solve(basis @ matrix @ basis.T, basis @ rhs[0]) @ basis
    np.testing.assert_allclose(found[0], best, rtol=1e-6, atol=1e-9)


def test_dependent_and_zero_rows():
    matrix, rng = system(2)
    one = rng.standard_normal(N)
    rhs = np.array([one, one, -3.0 * one, np.zeros(N)])
    found, _ = solve(matrix, rhs)
    truth = np.linalg.solve(matrix, one)
    expected = np.outer([1, 1, -3, 0], truth)
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.linalg.norm(truth))
    assert (found[3] == 0).all()


def test_an_exact_preconditioner_needs_one_step():
    matrix, rng = system(3)
    _, steps = solve(matrix, rng.standard_normal((4, N)), preconditioner=matrix)
    assert steps == 1


@pytest.mark.parametrize("most", [0, 3])
def test_gives_up_where_told(most):
    matrix, rng = system(4)
    found, steps = solve(matrix, rng.standard_normal((2, N)), most=most)
    assert steps == most
    assert (found == 0).all() == (most == 0)


@given(
    st.integers(0, 99),
    st.integers(1, N),
    st.sampled_from([0.0, 2.0, 3.5, 5.0, 6.5, 8.0, 12.0, 20.0, 300.0]),
)
@settings(deadline=None, max_examples=200)
def test_directions_are_orthonormal(seed, count, digits):
    """With rows of any lengths, whether they depend in ``digits`` digits or all of them."""
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((count, count)))[0]
    right = np.linalg.qr(rng.standard_normal((N, count)))[0]
    rows = (left * np.logspace(0.0, -digits, count)) @ right.T
    rows *= rng.lognormal(sigma=5.0, size=(count, 1))
    given_rows = rows.copy()
    found = _orthonormal(rows)
    assert (rows == given_rows).all()
    np.testing.assert_allclose(found @ found.T, np.eye(count), atol=1e-9)
    outside = rows - (rows @ found.T) @ found
    assert (np.linalg.norm(outside, axis=1) <= 1e-9 * np.linalg.norm(rows, axis=1)).all()


@pytest.mark.parametrize("rows", [2 * np.eye(3, N), np.ones((4, N)), np.zeros((2, N))])
def test_directions_of_regular_equal_and_zero_rows(rows):
    found = _orthonormal(rows)
    np.testing.assert_allclose(found @ found.T, np.eye(len(rows)), atol=1e-12)
    np.testing.assert_allclose((rows @ found.T) @ found, rows, atol=1e-12)


def test_no_more_directions_than_unknowns():
    found = _orthonormal(np.random.default_rng(0).standard_normal((N + 5, N)))
    np.testing.assert_allclose(found @ found.T, np.eye(N), atol=1e-12)
