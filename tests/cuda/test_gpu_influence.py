"""Rows made on a device against the CPU's, which are tested against oracles of their own."""

from __future__ import annotations

import numpy as np
import pytest

import dprune
from dprune import _cuda, gpu

torch = pytest.importorskip("torch")


@pytest.fixture(params=["host", "device"])
def place(request, monkeypatch):
    """The torch device that rows are made on; the CPU stands in where there is none."""
    if request.param == "device":
        if not torch.cuda.is_available() or not _cuda.devices():
            pytest.skip("no CUDA device")
        return torch.device("cuda")
    machine = _cuda.HostMachine()
    monkeypatch.setattr(gpu, "machine_of", lambda x: machine)
    return torch.device("cpu")


@pytest.fixture(params=[False, True])
def head(request):
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 4
    X = (rng.standard_normal((80, 6)) + rng.standard_normal((4, 6))[labels]).astype(np.float32)
    weights = 0.5 + rng.random(80) if request.param else None
    return dprune.LastLayer.fit(X, labels, weight_decay=1e-2, sample_weights=weights)


@pytest.mark.parametrize("method", ["auto", "dense", "pcg"])
def test_rows(place, head, method):
    from dprune.gpu_influence import device_influence

    S = device_influence(head, method, None, place)
    expected = np.asarray(dprune.influence(head, "dense"))
    assert S.rows.device.type == place.type
    assert S.rows.dtype == torch.float32
    tolerance = 1e-4 if method == "pcg" else 1e-6
    error = np.linalg.norm(S.rows.cpu().numpy() - expected, axis=1)
    assert (error <= tolerance * np.linalg.norm(expected, axis=1)).all()
    assert S.residuals.max() <= (1e-5 if method == "pcg" else 1e-10)
    assert not S.approximate


def test_hessian(place, head):
    from dprune.gpu_influence import DeviceHessian

    hessian = DeviceHessian(head, place)
    vectors = np.random.default_rng(1).standard_normal((3, head.hessian.width))
    found = hessian.product(torch.from_numpy(vectors).to(place)).cpu().numpy()
    np.testing.assert_allclose(found, head.hessian.product(vectors.T).T, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(hessian.dense().cpu(), head.hessian.dense(), rtol=1e-11, atol=1e-13)
    placed = torch.from_numpy(vectors).to(place)
    np.testing.assert_allclose(
        hessian.precondition(placed).cpu(), head.hessian.precondition(vectors.T).T, rtol=1e-9
    )
    np.testing.assert_allclose(
        hessian.gradient_product(placed).cpu(), head.gradient_product(vectors.T), rtol=1e-10
    )
    weights = np.random.default_rng(2).standard_normal((80, 2))
    np.testing.assert_allclose(
        hessian.gradient_sum(torch.from_numpy(weights).to(place)).cpu(),
        head.gradient_sum(weights).T,
        rtol=1e-9,
        atol=1e-12,
    )


def test_blocks_of_samples_make_no_difference(place, head, monkeypatch):
    from dprune import gpu_influence

    whole = gpu_influence.device_influence(head, "dense", None, place).rows
    monkeypatch.setattr(gpu_influence, "_NUMBERS", 90)
    parts = gpu_influence.device_influence(head, "dense", None, place).rows
    np.testing.assert_allclose(parts.cpu(), whole.cpu(), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("method", ["dense", "pcg"])
def test_sketch(place, head, method):
    from dprune.gpu_influence import device_influence

    S = np.asarray(dprune.influence(head, "dense"), dtype=np.float64)
    sketch = device_influence(head, method, 9, place)
    assert sketch.shape == (80, 9)
    best = np.linalg.svd(S, compute_uv=False)[:9]
    found = np.linalg.svd(np.asarray(sketch, dtype=np.float64), compute_uv=False)
    assert (found <= best * (1 + 1e-3)).all()
    # With an approximate inverse as its guide, the search of directions stays behind.
    assert (found**2).sum() >= (0.98 if method == "dense" else 0.8) * (best**2).sum()
    np.testing.assert_allclose(np.asarray(sketch), S @ sketch.basis, rtol=0, atol=1e-3 * best[0])
    left_out = 1 - (found**2).sum() / (S**2).sum()
    assert sketch.left_out == pytest.approx(left_out, abs=0.05)


def test_bad_input(place, head):
    from dprune.gpu_influence import device_influence

    with pytest.raises(ValueError, match="method must be auto, dense or pcg on a CUDA device"):
        device_influence(head, "kfac", None, place)
    with pytest.raises(ValueError, match=r"rank must lie in 1\.\.21, found 22"):
        device_influence(head, "dense", 22, place)
    squared = dprune.LastLayer.fit(head.features, head.labels, 1e-2, criterion="squared")
    with pytest.raises(ValueError, match="needs criterion='softmax', found 'squared'"):
        device_influence(squared, "dense", None, place)


def test_no_device_no_silence(head):
    if _cuda.devices():
        pytest.skip("there is a CUDA device")
    with pytest.raises(RuntimeError, match="found no usable CUDA device"):
        dprune.influence(head, device="cuda")
