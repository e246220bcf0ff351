"""Matrix products as BLAS takes them, memory that runs out, bfloat16."""

from __future__ import annotations

import numpy as np
import pytest

from dprune import _cuda
from oracle import to_bfloat16


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("transposed", [(False, False), (False, True), (True, False), (True, True)])
def test_product(machine, dtype, transposed):
    rng = np.random.default_rng(0)
    m, n, k = 5, 7, 11
    A = rng.standard_normal((k, m) if transposed[0] else (m, k))
    B = rng.standard_normal((n, k) if transposed[1] else (k, n))
    if dtype == "bfloat16":
        (stored_a, A), (stored_b, B) = to_bfloat16(A), to_bfloat16(B)
    else:
        A, B = stored_a, stored_b = A.astype(dtype), B.astype(dtype)
    C = np.full((m, n), np.nan, dtype=np.float64 if dtype == "float64" else np.float32)
    a, b, c = (_cuda.Memory(machine, x) for x in (stored_a, stored_b, C))
    _cuda.product(machine, dtype, *transposed, m, n, k, a.address, b.address, c.address)
    c.read(C)
    A, B = A.astype(np.float64), B.astype(np.float64)
    expected = (A.T if transposed[0] else A) @ (B.T if transposed[1] else B)
    np.testing.assert_allclose(C, expected, rtol=0, atol=1e-12 if dtype == "float64" else 1e-5)


def test_memory_comes_back(machine):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    y = np.empty_like(x)
    memory = _cuda.Memory(machine, x)
    memory.read(y)
    np.testing.assert_array_equal(x, y)
    with pytest.raises(ValueError, match="of 48 bytes"):
        memory.read(np.empty(3))
    with pytest.raises(ValueError, match="C-contiguous"):
        _cuda.Memory(machine, x.T)


def test_out_of_memory_says_how_much_and_leaves_nothing_behind():
    S = np.random.default_rng(0).standard_normal((500, 30)).astype(np.float32)
    machine = _cuda.HostMachine(limit=100_000)
    rows = _cuda.DenseRows(machine, S.ctypes.data, *S.shape, "float32")
    norms = rows.squared_norms()
    held = machine.held
    arguments = (rows, np.zeros(30), norms, None, None, 0.0, np.zeros(500, np.int64))
    rest = (np.zeros(1, np.int64), False, np.zeros(500, np.uint8), "block", 0, 1, np.inf)
    with pytest.raises(
        MemoryError, match=r"out of memory: .* need \d+ bytes, found \d+ bytes free"
    ):
        _cuda.Solver(*arguments, *rest, chains=64).solve(200, 499, np.inf, 5, np.inf)
    assert machine.held == held
    np.testing.assert_array_equal(rows.squared_norms(), norms)


def test_bad_arguments():
    machine = _cuda.HostMachine()
    with pytest.raises(ValueError, match="dtype must be float32 or bfloat16, found float64"):
        _cuda.DenseRows(machine, 0, 1, 1, "float64")
    with pytest.raises(ValueError, match="found int8"):
        _cuda.DenseRows(machine, 0, 1, 1, "int8")
    with pytest.raises(ValueError, match="lanes must be at least 1"):
        _cuda.HostMachine(lanes=0)


def test_no_device_is_a_plain_error():
    if _cuda.devices():
        pytest.skip("there is a CUDA device")
    with pytest.raises(RuntimeError, match="CUDA"):
        _cuda.DeviceMachine(0)
