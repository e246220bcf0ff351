"""Row stores on a machine against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from dprune import _cuda
from oracle import to_bfloat16


class Store:
    """A store, the dense matrix it stands for, and the memory it reads."""

    def __init__(self, machine, kind, n, width, seed=0):
        rng = np.random.default_rng(seed)
        if kind == "factored":
            b = rng.standard_normal((n, 3)).astype(np.float32)
            a = rng.standard_normal((n, width)).astype(np.float32)
            self.memory = _cuda.Memory(machine, b), _cuda.Memory(machine, a)
            self.rows = _cuda.FactoredRows(machine, *(m.address for m in self.memory), n, 3, width)
            self.S = np.einsum("ip,iq->ipq", b.astype("f8"), a.astype("f8")).reshape(n, -1)
            return
        S = rng.standard_normal((n, width)).astype(np.float32)
        stored = S
        dtype = kind.removeprefix("scaled ")
        if dtype == "bfloat16":
            stored, S = to_bfloat16(S)
        self.memory = _cuda.Memory(machine, stored)
        self.rows = _cuda.DenseRows(machine, self.memory.address, n, width, dtype)
        self.S = S.astype(np.float64)
        if kind != dtype:
            scale = rng.uniform(0.1, 2.0, width).astype(np.float32)
            self.rows = _cuda.ScaledRows(self.rows, scale)
            self.S *= scale


@pytest.fixture(params=["float32", "bfloat16", "factored", "scaled float32", "scaled bfloat16"])
def kind(request):
    return request.param


@pytest.mark.parametrize(("n", "width"), [(1, 1), (40, 7), (700, 300)])
def test_float64_passes(machine, kind, n, width):
    store = Store(machine, kind, n, width)
    rows, S = store.rows, store.S
    rng = np.random.default_rng(1)
    assert rows.shape == S.shape
    close = {"rtol": 1e-12, "atol": 1e-11}
    np.testing.assert_allclose(rows.squared_norms(), (S**2).sum(axis=1), **close)
    v, w = rng.standard_normal(S.shape[1]), rng.standard_normal(n)
    np.testing.assert_allclose(rows.dots(v), S @ v, **close)
    np.testing.assert_allclose(rows.weighted_sum(w), w @ S, **close)
    np.testing.assert_allclose(rows.square_columns(), (S**2).sum(axis=0), **close)
    labels = rng.integers(-1, 5, n)
    sums = np.ones((6, S.shape[1]))  # the last group is empty
    rows.add_groups(labels, sums)
    expected = [1 + S[labels == g].sum(axis=0) for g in range(6)]
    np.testing.assert_allclose(sums, expected, **close)


def test_group_sums_in_the_order_of_the_rows(machine):
    store = Store(machine, "float32", 500, 3)
    sums = np.zeros((1, 3))
    store.rows.add_groups(np.zeros(500, dtype=np.int64), sums)
    parts = np.zeros((2, 3))
    for part, rows in zip(parts, (store.S[:256], store.S[256:]), strict=True):
        for row in rows:
            part += row
    np.testing.assert_array_equal(sums[0], parts[0] + parts[1])


@pytest.mark.parametrize("block", [np.arange(6, 18), np.array([11, 3, 4, 29, 0])])
def test_block_products(machine, kind, block):
    store = Store(machine, kind, 30, 9)
    S = store.S[block]
    rng = np.random.default_rng(1)
    U = (100 * rng.standard_normal((4, S.shape[1]))).astype(np.float32)
    signs = rng.integers(-1, 2, (4, len(block))).astype(np.float32)
    np.testing.assert_allclose(store.rows.gram(block), S @ S.T, rtol=0, atol=2e-5)
    # Float32 accuracy from bfloat16 rows too: the running sums keep all their bits.
    found = store.rows.block_dots(block, U)
    np.testing.assert_allclose(found, U.astype("f8") @ S.T, rtol=0, atol=5e-4)
    expected = U + signs @ S
    store.rows.block_add(block, signs, U)
    np.testing.assert_allclose(U, expected, rtol=0, atol=5e-5)


def test_more_rows_than_a_block_holds(machine):
    store = Store(machine, "float32", 2500, 4)
    U = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
    everything = np.arange(2500)
    found = store.rows.block_dots(everything, U)
    np.testing.assert_allclose(found, U @ store.S.T, rtol=0, atol=1e-5)
    signs = np.ones((2, 2500), dtype=np.float32)
    expected = U + store.S.sum(axis=0)
    store.rows.block_add(everything, signs, U)
    np.testing.assert_allclose(U, expected, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="more rows than a block holds"):
        store.rows.gram(everything)


def test_hashes_tell_rows_apart(machine, kind):
    store = Store(machine, kind, 50, 6)
    hashes = store.rows.hashes()
    assert len(set(hashes.tolist())) == 50
    again = Store(_cuda.HostMachine(lanes=2), kind, 50, 6)
    np.testing.assert_array_equal(hashes, again.rows.hashes())
    S = np.array([[1.0, 2.0], [2.0, 1.0], [0.0, 0.0], [-0.0, 0.0]], dtype=np.float32)
    memory = _cuda.Memory(machine, S)
    assert len(set(_cuda.DenseRows(machine, memory.address, 4, 2, "float32").hashes())) == 4


def test_bad_shapes(machine):
    rows = Store(machine, "float32", 5, 3).rows
    with pytest.raises(ValueError, match="v must be a vector of 3 entries"):
        rows.dots(np.zeros(4))
    with pytest.raises(ValueError, match="weights must be a vector of 5 entries"):
        rows.weighted_sum(np.zeros(3))
    with pytest.raises(ValueError, match="labels must name a row of sums"):
        rows.add_groups(np.array([0, 0, 1, 0, 0]), np.zeros((1, 3)))
    with pytest.raises(ValueError, match="sums must have the width"):
        rows.add_groups(np.zeros(5, dtype=np.int64), np.zeros((1, 2)))
