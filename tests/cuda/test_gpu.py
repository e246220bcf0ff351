"""prune() and its neighbours on a device, which the CPU stands in for where there is none.

The stand-in treats torch tensors on the CPU as if they were on a device, so that all of the Python
side runs; the operations are those of the other files in this folder.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil

import numpy as np
import pytest

import dprune
from dprune import _cuda, backend, factored, gpu, gradients, solve, sources
from dprune.metric import EUCLIDEAN

torch = pytest.importorskip("torch")


@pytest.fixture(params=["host", "device"])
def place(request, monkeypatch):
    """Put an array where the solver works on it."""
    if request.param == "device":
        if not torch.cuda.is_available() or not _cuda.devices():
            pytest.skip("no CUDA device")
        return lambda x: torch.as_tensor(x).cuda()
    machine = _cuda.HostMachine()

    def is_tensor(x):
        return isinstance(x, torch.Tensor)

    for module in (backend, factored, gpu, gradients, sources):
        monkeypatch.setattr(module, "is_cuda", is_tensor)
    monkeypatch.setattr(gpu, "machine_of", lambda x: machine)
    monkeypatch.setattr(backend, "cuda_devices", lambda: ["the CPU in its place"])
    return torch.as_tensor


def matrix(n, width, seed=0):
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def certify(S, r, c):
    m = len(r.removed)
    S = S.astype(np.float64)
    total = S[r.removed].sum(axis=0)
    return np.linalg.norm(total - c * m * S.mean(axis=0)) / (1 - c * m / len(S)), total


@pytest.mark.parametrize("c", [0.0, 0.5])
def test_prune_a_tensor_in_place(place, c):
    S = matrix(150, 6)
    labels = np.arange(150) % 3
    tensor = place(S)
    keywords = {"m": 60, "reweight": c, "groups": labels, "balance": "proportional", "sweeps": 60}
    r = dprune.prune(tensor, **keywords)
    norm, total = certify(S, r, c)
    assert r.norm == pytest.approx(norm, rel=1e-6)
    assert r.raw_norm == pytest.approx(np.linalg.norm(total), rel=1e-6)
    assert (np.bincount(labels[r.removed]) == 20).all()
    cpu = dprune.prune(S, **keywords)
    assert r.random_norm == pytest.approx(cpu.random_norm, rel=1e-12)
    assert r.norm < 0.2 * r.random_norm
    assert r.settings["device"] == str(tensor.device)
    assert not r.settings["working_copy"]
    again = dprune.prune(tensor, **keywords)
    assert (again.mask == r.mask).all()
    assert again.fingerprint == r.fingerprint
    assert dprune.prune(place(S[::-1].copy()), **keywords).fingerprint != r.fingerprint


def test_prune_with_eps_keeps_the_bound_of_the_cpu(place):
    S = matrix(80, 5) + 0.3
    r = dprune.prune(place(S), eps=8.0, sweeps=500)
    cpu = dprune.prune(S, eps=8.0, sweeps=500)
    assert r.norm <= 8.0
    assert r.upper_bound == cpu.upper_bound
    assert abs(len(r.removed) - len(cpu.removed)) <= 1


def test_prune_bfloat16(place):
    S = matrix(120, 6)
    tensor = place(S).bfloat16()
    r = dprune.prune(tensor, m=50, sweeps=60)
    values = tensor.float().cpu().numpy()
    assert r.norm == pytest.approx(certify(values, r, 0.0)[0], rel=1e-6)
    assert r.norm < 0.2 * r.random_norm
    assert r.settings["dtype"] == "bfloat16"


def test_prune_factored(place):
    b, a = matrix(90, 3), matrix(90, 5, seed=1)
    rows = dprune.FactoredRows(place(b), place(a))
    assert rows.shape == (90, 15)
    r = dprune.prune(rows, m=40, sweeps=100)
    dense = np.asarray(dprune.FactoredRows(b, a))
    assert r.norm == pytest.approx(certify(dense, r, 0.0)[0], rel=1e-5)
    assert r.norm < 0.3 * r.random_norm
    assert rows[np.array([3, 4])].shape == (2, 15)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("scaled", "tensor"),
        ("scaled bfloat16", "tensor"),
        ("rotated", "tensor"),
        ("rotated", "array"),
        ("factored", "tensor"),
        ("factored", "array"),
    ],
)
def test_walks_in_the_metric_of_the_cpu(place, monkeypatch, kind, given):
    """The norm of the answer is the rows' own, whatever the walk went by, and as low."""
    n, width = 600, 60
    spectrum = (1 / np.arange(1, width + 1)).astype("f")
    if kind == "factored":
        rows = dprune.FactoredRows(matrix(n, 8) * spectrum[:8], matrix(n, 20, 1) * spectrum[:20])
        on_device = dprune.FactoredRows(place(rows.b), place(rows.a))
    else:
        rows = matrix(n, width) * spectrum
        if kind == "rotated":
            rows = np.ascontiguousarray(rows @ np.linalg.qr(matrix(width, width, 1))[0])
        on_device = place(rows)
        if kind == "scaled bfloat16":
            rows, on_device = dprune.BFloat16Rows.rounded(rows), on_device.bfloat16()
    keywords = {"m": 250, "sweeps": 60}
    cpu = dprune.prune(rows, **keywords)
    S = on_device if given == "tensor" else rows
    r = dprune.prune(S, **keywords, device="cuda")
    assert r.settings["metric"] == cpu.settings["metric"] == kind.split()[0]
    assert r.norm == pytest.approx(certify(np.asarray(rows), r, 0.0)[0], rel=1e-5)
    assert r.norm < 1.2 * cpu.norm
    # What the walks met was judged on the way, not only where they ended.
    assert r.trace["norm"][r.trace["sweep"] <= 50].min() < 1.5 * r.norm
    monkeypatch.setattr(solve, "metric", lambda *_: EUCLIDEAN)
    plain = dprune.prune(S, **keywords, device="cuda")
    assert plain.settings["metric"] == "euclidean"
    assert r.norm < 0.8 * plain.norm


def test_rows_are_not_turned_without_the_memory_for_it(place, monkeypatch):
    S = matrix(600, 60) / np.arange(1, 61, dtype="f") @ np.linalg.qr(matrix(60, 60, 1))[0]
    monkeypatch.setattr(gpu, "_TURNED_SHARE", 0.0)
    r = dprune.prune(place(np.ascontiguousarray(S)), m=250, sweeps=5)
    assert r.settings["metric"] == "euclidean"
    b, a = (matrix(600, k) / np.arange(1, k + 1, dtype="f") for k in (8, 20))
    r = dprune.prune(dprune.FactoredRows(place(b), place(a)), m=250, sweeps=5)
    assert r.settings["metric"] == "euclidean"


def test_prune_with_device_cuda_copies_arrays(place):
    S = matrix(100, 5)
    for rows in (S, np.asfortranarray(S)):
        r = dprune.prune(rows, m=30, sweeps=60, device="cuda")
        assert r.settings["device"] == "cuda"
        assert r.norm == pytest.approx(certify(S, r, 0.0)[0], rel=1e-6)
    half = dprune.BFloat16Rows.rounded(S)
    assert dprune.prune(half, m=30, sweeps=20, device="cuda").settings["dtype"] == "bfloat16"


def test_a_comparison_selects_on_the_device_that_trains(place, monkeypatch, tmp_path):
    from dprune import data, gpu_influence, method, selector, train
    from dprune.plan import Plan

    images = data.digits().take(120)
    plan = Plan(sources=1, choice_runs=1, recipe=train.Recipe(epochs=1))
    names = ["influence-norm", "ccs+quotas", "dprune@0.5", "dprune"]
    scores = iter(range(100))
    monkeypatch.setattr(selector, "train_and_test", lambda *_: {"accuracy": next(scores)})
    monkeypatch.setattr(selector, "prune", functools.partial(dprune.prune, sweeps=60))
    monkeypatch.setattr(selector, "_CHOICE_SWEEPS", 20)

    def selected(device):
        said = []
        chooser = selector.Selector(
            images, dataclasses.replace(plan, device=device), tmp_path / device, said.append
        )
        kept = [chooser.kept(name, 0.5, 0) for name in names]
        assert all(len(indices) == 60 for indices in kept)
        return chooser.sources.rows, kept, said

    rows, kept, _ = selected("cpu")
    # Networks are the host's, the rows a device's: where the CPU stands in, it trains nothing.
    shutil.copytree(tmp_path / "cpu", tmp_path / "cuda")
    shutil.rmtree(tmp_path / "cuda" / "selections")
    on_device = place(np.zeros(1, "f")).device
    monkeypatch.setattr(
        gpu_influence,
        "device_influence",
        functools.partial(gpu_influence.device_influence, device=str(on_device)),
    )
    monkeypatch.setattr(method, "free_device_memory", lambda: 1e9)
    monkeypatch.setattr(selector, "cuda_devices", backend.cuda_devices)
    found, again, said = selected("cuda")
    assert isinstance(rows.rows, np.ndarray)
    assert isinstance(found.rows, torch.Tensor)
    assert found.rows.device == on_device
    np.testing.assert_allclose(np.asarray(found), np.asarray(rows), rtol=0, atol=1e-5)
    for one, other in zip(kept[:2], again[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    there, here = (
        dprune.load(tmp_path / device / "selections" / "dprune-0.5.npz")
        for device in ("cuda", "cpu")
    )
    assert there.settings["device"] == str(on_device)
    assert there.norm < 1.05 * here.norm < 0.6 * here.random_norm
    assert len(said) == 1  # the choice

    monkeypatch.setattr(selector, "cuda_devices", list)
    shutil.rmtree(tmp_path / "cuda" / "selections")
    assert "stay on the CPU" in selected("cuda")[2][0]


def test_last_layer_gradients(place):
    features, labels = matrix(9, 4), np.arange(9) % 3
    p = np.random.default_rng(0).dirichlet(np.ones(3), 9).astype(np.float32)
    found = dprune.last_layer_gradients(place(features), place(p), place(labels))
    expected = dprune.last_layer_gradients(features, p, labels)
    np.testing.assert_array_equal(found.cpu().numpy(), expected)
    out = torch.empty(9, 15, dtype=torch.bfloat16, device=found.device)
    assert dprune.last_layer_gradients(place(features), place(p), place(labels), out) is out
    np.testing.assert_array_equal(out.float().cpu().numpy(), found.bfloat16().float().cpu().numpy())


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"labels": np.array([0, 3, 1])}, ValueError, "labels must lie in 0..2, found 0..3"),
        ({"labels": np.array([0, 1])}, ValueError, r"labels must have shape \(3,\), found \(2,\)"),
        ({"p": np.ones((2, 3), "f")}, ValueError, r"probabilities must have shape \(3, C\)"),
        ({"p": np.ones((3, 3))}, TypeError, "probabilities must be float32 or bfloat16, found"),
        ({"out": np.ones((3, 4), "f")}, ValueError, r"out must have shape \(3, 15\), found \(3, 4"),
    ],
)
def test_last_layer_gradients_of_bad_input(place, change, error, match):
    arguments = {"features": matrix(3, 4), "p": np.ones((3, 3), "f"), "labels": np.zeros(3, int)}
    placed = {name: place(x) for name, x in {**arguments, **change}.items()}
    with pytest.raises(error, match=match):
        dprune.last_layer_gradients(
            placed["features"], placed["p"], placed["labels"], placed.get("out")
        )


@pytest.mark.parametrize(
    ("S", "error", "match"),
    [
        (
            np.zeros((3, 2)),
            TypeError,
            "S must be float32 or bfloat16 on a CUDA device, found float64",
        ),
        (np.zeros((3, 2), "f").T, ValueError, r"S must be contiguous on a CUDA device, found stri"),
        (np.zeros(3, "f"), ValueError, r"S must have 2 dimensions .*found shape \(3,\)"),
        (np.array([[1, np.nan]], "f"), ValueError, "S must be finite, found NaN or Inf in row 0"),
    ],
)
def test_bad_rows(place, S, error, match):
    with pytest.raises(error, match=match):
        dprune.prune(place(S), m=1)


def test_what_a_device_does_not_do(place):
    S = place(matrix(20, 3))
    with pytest.raises(ValueError, match="solver must be 'block' on a GPU, found 'anneal'"):
        dprune.prune(S, m=5, solver="anneal")
    with pytest.raises(ValueError, match="device='cpu' was asked for, found a tensor on"):
        dprune.prune(S, m=5, device="cpu")
    with pytest.raises(ValueError, match=r"a must be where b is"):
        dprune.FactoredRows(S, matrix(20, 3))


def test_memory_that_runs_out(place, monkeypatch):
    S = place(matrix(400, 20))
    if S.device.type == "cuda":
        pytest.skip("only the stand-in has a limit")
    machine = _cuda.HostMachine(limit=60_000)
    monkeypatch.setattr(gpu, "machine_of", lambda x: machine)
    with pytest.raises(MemoryError, match=r"out of memory: .* need \d+ bytes, found \d+ bytes fre"):
        dprune.prune(S, m=100, sweeps=10)
    assert dprune.prune(S[:10], m=4, sweeps=10).norm > 0


def test_no_device_no_silence():
    if _cuda.devices():
        pytest.skip("there is a CUDA device")
    with pytest.raises(RuntimeError, match="device='cuda' was asked for, found no usable CUDA dev"):
        dprune.prune(np.zeros((3, 2), "f"), m=1, device="cuda")
