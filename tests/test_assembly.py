"""The Hessian by moments of pairs of classes against its definition."""

import numpy as np
import pytest

from dprune import assembly
from dprune.assembly import softmax_hessian
from dprune.curvature import contrasts


# One strip, equal ones, ragged ones; samples in one block and in several.
@pytest.mark.parametrize("width", [3, 8, 13])
@pytest.mark.parametrize("n", [50, 150])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_against_definition(width, n, dtype, tolerance, monkeypatch):
    monkeypatch.setattr(assembly, "_STRIP", 4)
    monkeypatch.setattr(assembly, "_SAMPLES", 64)
    monkeypatch.setattr(assembly, "_TURNED_ENTRIES", 30)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, width)).astype(dtype)
    p = rng.dirichlet(np.ones(4), n)
    q = contrasts(4)
    curvature = p[:, :, None] * np.eye(4) - p[:, :, None] * p[:, None, :]
    expected = np.einsum(
        "ca,ncd,db,ni,nj->aibj", q, curvature, q, x.astype(float), x.astype(float), optimize=True
    )
    found = softmax_hessian(x, p, q)
    size = 3 * width
    np.testing.assert_allclose(found, expected.reshape(size, size) / n, atol=tolerance)
