"""Derivatives of the head on a machine against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

import oracle
from dprune import _cuda
from oracle import to_bfloat16


@pytest.mark.parametrize(("n", "classes"), [(1, 2), (13, 10), (4, 300)])
def test_softmax_errors(machine, n, classes):
    rng = np.random.default_rng(0)
    logits = (10 * rng.standard_normal((n, classes))).astype(np.float32)
    labels = rng.integers(0, classes, n)
    z, y = _cuda.Memory(machine, logits), _cuda.Memory(machine, labels)
    _cuda.softmax_errors(machine, z.address, y.address, z.address, n, classes)
    found = np.empty_like(logits)
    z.read(found)
    expected = oracle.softmax_errors(logits.astype(np.float64), labels)
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=1e-30)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("out_dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize(("n", "k", "d"), [(5, 3, 4), (3, 2, 300), (2, 40, 1)])
def test_outer_rows(machine, dtype, out_dtype, gradient, n, k, d):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((n, d)).astype(np.float32)
    b = oracle.softmax(rng.standard_normal((n, k))).astype(np.float32)
    labels = rng.integers(0, k, n)
    stored_a, stored_b = a, b
    if dtype == "bfloat16":
        (stored_a, a), (stored_b, b) = to_bfloat16(a), to_bfloat16(b)
    expected = b[:, :, None] * a[:, None, :]
    if gradient:
        h = np.hstack([a, np.ones((n, 1), np.float32)])
        expected = (b - np.eye(k, dtype=np.float32)[labels])[:, :, None] * h[:, None, :]
    expected = expected.reshape(n, -1)
    out = np.zeros(expected.shape, np.uint16 if out_dtype == "bfloat16" else np.float32)
    x, y, label, memory = (_cuda.Memory(machine, m) for m in (stored_a, stored_b, labels, out))
    _cuda.outer_rows(
        machine,
        y.address,
        x.address,
        dtype,
        label.address if gradient else None,
        gradient,
        memory.address,
        out_dtype,
        n,
        k,
        d,
    )
    memory.read(out)
    np.testing.assert_array_equal(
        out, to_bfloat16(expected)[0] if out_dtype == "bfloat16" else expected
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [True, False])
def test_softmax_curvature(machine, dtype, weighted):
    rng = np.random.default_rng(0)
    n, classes, vectors = 6, 5, 4
    p = oracle.softmax(rng.standard_normal((n, classes))).astype(dtype)
    w = (1 + rng.random(n)).astype(dtype)
    z = rng.standard_normal((n, vectors, classes)).astype(dtype)
    memory = [_cuda.Memory(machine, m) for m in (p, w, z)]
    _cuda.softmax_curvature(
        machine,
        memory[0].address,
        memory[1].address if weighted else None,
        memory[2].address,
        dtype,
        n,
        classes,
        vectors,
    )
    found = np.empty_like(z)
    memory[2].read(found)
    for i in range(n):
        curvature = np.diag(p[i]) - np.outer(p[i], p[i])
        expected = z[i] @ curvature * (w[i] if weighted else 1)
        np.testing.assert_allclose(found[i], expected, atol=1e-6 if dtype == "float32" else 1e-14)
