"""Rows made on a device against the CPU's, which are tested against oracles of their own."""

from __future__ import annotations

import functools

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


@pytest.fixture
def influence(place):
    """influence(device="cuda") past its options, on the device or in its place."""
    from dprune.gpu_influence import device_influence

    return functools.partial(device_influence, device=str(place))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["dense", "pcg"])
def test_rows(place, influence, head, method, dtype):
    S = influence(head, method, dtype=dtype)
    expected = np.asarray(dprune.influence(head, "dense"))
    assert S.rows.device.type == place.type
    assert S.rows.dtype == getattr(torch, dtype)
    assert S.dtype == dtype
    tolerance = 2**-8 if dtype == "bfloat16" else 1e-4 if method == "pcg" else 1e-6
    found = S.rows.float().cpu().numpy()
    np.testing.assert_array_equal(np.asarray(S), found)
    error = np.linalg.norm(found - expected, axis=1)
    assert (error <= tolerance * np.linalg.norm(expected, axis=1)).all()
    assert S.residuals.max() <= (1e-5 if method == "pcg" else 1e-10)
    assert not S.approximate


@pytest.mark.parametrize("criterion", ["softmax", "squared"])
def test_factors(place, influence, head, criterion):
    head = dprune.LastLayer.fit(
        head.features, head.labels, 1e-2, sample_weights=head.sample_weights, criterion=criterion
    )
    S = influence(head, "kfac")
    expected = dprune.influence(head, "kfac")
    assert S.approximate == expected.approximate == (criterion == "softmax")
    assert S.shape == expected.shape
    for found, wanted in zip(S.factors, expected.factors, strict=True):
        assert found.device.type == place.type
        np.testing.assert_allclose(found.cpu(), wanted, rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("rank", [None, 9])
def test_rows_are_written_where_asked(place, influence, head, rank):
    width = head.hessian.width if rank is None else rank
    out = torch.empty((head.n, width), dtype=torch.bfloat16, device=place)
    S = influence(head, "dense", rank, dtype="bfloat16", out=out)
    assert S.rows is out
    wanted = influence(head, "dense", rank).rows
    torch.testing.assert_close(out, wanted.bfloat16(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("out", "error", "match"),
    [
        (np.empty((80, 21), np.float32), TypeError, "out must be a tensor .*found ndarray"),
        (torch.empty(80, 20), ValueError, r"out must be .* of shape \(80, 21\), found .*\(80, 20"),
        (
            torch.empty(80, 21).double(),
            ValueError,
            "out must be torch.float32 .*found torch.float64",
        ),
        (torch.empty(21, 80).T, TypeError, r"out must be contiguous, found strides \(1, 80\)"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(place, influence, head, out, error, match):
    with pytest.raises(error, match=match):
        influence(head, "dense", out=out.to(place) if isinstance(out, torch.Tensor) else out)


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


def test_blocks_of_samples_make_no_difference(influence, head, monkeypatch):
    from dprune import gpu_influence

    whole = influence(head, "dense").rows
    monkeypatch.setattr(gpu_influence, "_NUMBERS", 90)
    parts = influence(head, "dense").rows
    np.testing.assert_allclose(parts.cpu(), whole.cpu(), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("method", ["dense", "pcg"])
def test_sketch(influence, head, method):
    S = np.asarray(dprune.influence(head, "dense"), dtype=np.float64)
    sketch = influence(head, method, 9)
    assert sketch.shape == (80, 9)
    best = np.linalg.svd(S, compute_uv=False)[:9]
    found = np.linalg.svd(np.asarray(sketch, dtype=np.float64), compute_uv=False)
    assert (found <= best * (1 + 1e-3)).all()
    # With an approximate inverse as its guide, the search of directions stays behind.
    assert (found**2).sum() >= (0.98 if method == "dense" else 0.8) * (best**2).sum()
    np.testing.assert_allclose(np.asarray(sketch), S @ sketch.basis, rtol=0, atol=1e-3 * best[0])
    left_out = 1 - (found**2).sum() / (S**2).sum()
    assert sketch.left_out == pytest.approx(left_out, abs=0.05)


@pytest.mark.skipif(not _cuda.devices(), reason="no CUDA device")
@pytest.mark.parametrize(("rank", "method"), [(None, "dense"), (9, "dense"), (None, "kfac")])
def test_the_public_call(head, rank, method):
    S = dprune.influence(head, method, rank, device="cuda")
    if method == "kfac":
        assert S.error == pytest.approx(dprune.influence(head, "kfac").error, rel=1e-3)
    r = dprune.prune(S, m=40, sweeps=200)
    if not S.approximate:
        assert r.exact_norm == pytest.approx(r.norm, rel=1e-4)
    assert dprune.influence(head, device="cuda").method == "dense"
    with pytest.raises(ValueError, match="leverage and method 'lissa' are for device='cpu'"):
        dprune.influence(head, "lissa", device="cuda")
    with pytest.raises(TypeError, match="out must be a tensor on a CUDA device"):
        dprune.influence(head, "dense", out=np.empty((80, 21), np.float32), device="cuda")


def test_auto_asks_the_device_for_its_memory(head, monkeypatch):
    from dprune import method

    free = 4 * 80 * 21 / 0.7
    monkeypatch.setattr(method, "free_device_memory", lambda: 1.001 * free)
    settings = {"leverage": False, "rank": None}
    name, reason = method.choose_method(head, "cuda", placed=False, bytes_each=4, **settings)
    assert name == "pcg"  # a dense Hessian does not fit beside the rows
    monkeypatch.setattr(method, "free_device_memory", lambda: 0.999 * free)
    name, reason = method.choose_method(head, "cuda", placed=False, bytes_each=4, **settings)
    assert name == "kfac"
    assert "more than" in reason
    name, _ = method.choose_method(head, "cuda", placed=False, bytes_each=2, **settings)
    assert name == "pcg"


def test_no_device_no_silence(head):
    if _cuda.devices():
        pytest.skip("there is a CUDA device")
    with pytest.raises(RuntimeError, match="found no usable CUDA device"):
        dprune.influence(head, device="cuda")
