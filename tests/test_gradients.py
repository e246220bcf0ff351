"""Native gradients against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dprune
import oracle
from dprune import _core


def case(n, d, classes, dtype, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, d)).astype(dtype)
    probabilities = oracle.softmax(3 * rng.standard_normal((n, classes))).astype(dtype)
    return features, probabilities, rng.integers(0, classes, n)


@given(st.integers(1, 40), st.integers(1, 20), st.integers(2, 7), st.sampled_from("fd"))
@settings(deadline=None)
def test_gradients(n, d, classes, dtype):
    features, probabilities, labels = case(n, d, classes, dtype)
    found = dprune.last_layer_gradients(features, probabilities, labels)
    errors = probabilities - np.eye(classes, dtype=dtype)[labels]
    h = np.hstack([features, np.ones((n, 1), dtype=dtype)])
    expected = np.einsum("nc,nj->ncj", errors, h).reshape(n, -1)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_gradients_are_those_of_autograd():
    torch = pytest.importorskip("torch")
    features, _, labels = case(12, 5, 4, np.float64)
    layer = torch.nn.Linear(5, 4, dtype=torch.float64)
    logits = layer(torch.from_numpy(features))
    found = dprune.last_layer_gradients(
        features, torch.softmax(logits, dim=1).detach().numpy(), labels
    )
    for i in range(12):
        layer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits[i], torch.tensor(labels[i]))
        loss.backward(retain_graph=True)
        expected = torch.cat([layer.weight.grad, layer.bias.grad[:, None]], dim=1)
        np.testing.assert_allclose(found[i], expected.numpy().ravel(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_softmax_curvature(dtype, weighted):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 9).astype(dtype)
    weights = rng.uniform(0.5, 2.0, 9).astype(dtype) if weighted else None
    z = rng.standard_normal((9, 12)).astype(dtype)
    curvature = p[:, :, None] * np.eye(4) - p[:, :, None] * p[:, None, :]
    expected = np.einsum("ncd,nvd->nvc", curvature, z.reshape(9, 3, 4)).reshape(9, 12)
    if weighted:
        expected *= weights[:, None]
    _core.softmax_curvature(p, weights, z, 2)
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)


def test_out_is_written():
    features, probabilities, labels = case(9, 4, 3, np.float32)
    out = np.full((9, 15), np.nan, dtype=np.float32)
    assert dprune.last_layer_gradients(features, probabilities, labels, out) is out
    np.testing.assert_array_equal(out, dprune.last_layer_gradients(features, probabilities, labels))


def test_softmax_errors():
    rng = np.random.default_rng(0)
    logits = 10 * rng.standard_normal((30, 6))
    labels = rng.integers(0, 6, 30)
    np.testing.assert_allclose(
        _core.softmax_errors(logits, labels),
        oracle.softmax_errors(logits, labels),
        rtol=1e-13,
    )


def test_softmax_errors_of_huge_logits():
    errors = _core.softmax_errors(np.array([[1e4, -1e4, 1e4]]), np.array([0]))
    np.testing.assert_array_equal(errors, [[-0.5, 0.0, 0.5]])


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"features": np.zeros((4, 3))}, TypeError, "probabilities must have the dtype of feat"),
        ({"features": np.zeros((4, 3), int)}, TypeError, "features must be a float32 or float64"),
        ({"features": np.zeros((3, 4), "f").T}, TypeError, "features must be C-contiguous"),
        ({"features": np.zeros(4, "f")}, ValueError, "must have 2 dimensions, found 1"),
        ({"features": np.zeros((5, 3), "f")}, ValueError, r"labels must have shape \(5,\)"),
        ({"probabilities": np.zeros((3, 2), "f")}, ValueError, "probabilities must have as many"),
        (
            {"labels": np.array([0, 1, 2, 0])},
            ValueError,
            "labels must lie in 0..1, found 2 in row 2",
        ),
        ({"labels": np.array([0, -1, 1, 0])}, ValueError, "found -1 in row 1"),
        ({"labels": np.array([0.0, 1, 1, 0])}, TypeError, "labels must be integers"),
        ({"out": np.zeros((4, 7), "f")}, ValueError, r"out must have shape \(4, 8\)"),
        ({"out": np.zeros((4, 8))}, TypeError, "out must have the dtype of features"),
    ],
)
def test_bad_input(change, error, match):
    arguments = {
        "features": np.zeros((4, 3), "f"),
        "probabilities": np.full((4, 2), 0.5, "f"),
        "labels": np.array([0, 1, 0, 1]),
        **change,
    }
    with pytest.raises(error, match=match):
        dprune.last_layer_gradients(**arguments)
