"""Batched last-layer gradients: the native kernel beside NumPy. `make bench`."""

from __future__ import annotations

import numpy as np
import pytest

import dprune

N, D, C = 20_000, 256, 10


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((N, D), dtype=np.float32)
    probabilities = rng.dirichlet(np.ones(C), N).astype(np.float32)
    labels = rng.integers(0, C, N)
    return features, probabilities, labels, np.empty((N, C * (D + 1)), dtype=np.float32)


def by_numpy(features, probabilities, labels, out):
    errors = probabilities.copy()
    errors[np.arange(len(labels)), labels] -= 1
    blocks = out.reshape(len(labels), C, D + 1)
    np.multiply(errors[:, :, None], features[:, None, :], out=blocks[:, :, :-1])
    blocks[:, :, -1] = errors
    return out


@pytest.mark.parametrize("way", [by_numpy, dprune.last_layer_gradients])
@pytest.mark.benchmark(group=f"last-layer gradients, n={N} d={D} C={C} float32")
def test_gradients(benchmark, case, way):
    features, probabilities, labels, out = case
    expected = by_numpy(features, probabilities, labels, np.empty_like(out))
    np.testing.assert_array_equal(way(features, probabilities, labels, out), expected)
    benchmark(way, features, probabilities, labels, out)
    benchmark.extra_info["GB/s written"] = round(out.nbytes / benchmark.stats["median"] / 1e9, 2)
