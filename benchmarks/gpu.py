"""Everything that is claimed, or hoped for, of a GPU: one command, under ten minutes on an H200.

python benchmarks/gpu.py [--out DIR] [--only SECTION,...] [--dry]

Each section checks its answer before it reports a time, writes a JSON line to DIR/gpu.jsonl, and
fails alone. CPU and GPU run side by side: the CPU's solver on two threads. ``--dry`` goes through
the same steps at toy sizes with the CPU in the device's place; its figures mean nothing.

sections: device, kernels, products, certificate, metric, I2, I5, large, F2, exact, sketch
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dprune
import influence_sizes
import instances
from dprune import _cuda, backend, factored, gpu, gradients, solve, sources
from dprune.gpu_influence import DeviceHessian, device_influence
from dprune.metric import EUCLIDEAN

_REPEATS = 10


class Bench:
    """Where the sections run and what sizes they take."""

    def __init__(self, dry: bool) -> None:
        self.dry = dry
        self.device = torch.device("cpu" if dry else "cuda")
        self.copy_rate = 0.0  # bytes read and written a second
        self.matrix_rate: dict[str, float] = {}  # operations a second
        if dry:
            machine = _cuda.HostMachine()
            for module in (backend, factored, gpu, gradients, sources):
                module.is_cuda = lambda x: isinstance(x, torch.Tensor)
            gpu.machine_of = lambda x: machine

    def size(self, full: int, toy: int) -> int:
        """A size of the run, or of the dry one."""
        return toy if self.dry else full

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if not self.dry:
            torch.cuda.synchronize()

    def seconds(self, run: Callable[[], Any]) -> float:
        """Median time of one call, the device awaited."""
        run()
        times = []
        for _ in range(2 if self.dry else _REPEATS):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            times.append(time.perf_counter() - start)
        return float(np.median(times))

    def random(self, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Normal random numbers on the device."""
        return torch.randn(shape, dtype=torch.float32, device=self.device).to(dtype)


def device(bench: Bench) -> dict[str, Any]:
    """Copy bandwidth and matrix rates, what the other figures are held against."""
    x = bench.random(bench.size(1 << 29, 1 << 12))
    y = torch.empty_like(x)
    bench.copy_rate = 2 * x.nbytes / bench.seconds(lambda: y.copy_(x))
    side = bench.size(8192, 64)
    torch.backends.cuda.matmul.allow_tf32 = False
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        a = bench.random(side, side, dtype=dtype)
        rate = 2 * side**3 / bench.seconds(lambda a=a: a @ a)
        bench.matrix_rate[str(dtype).removeprefix("torch.")] = rate
    found = _cuda.devices()
    return {
        "name": found[0].name if found else "none: dry run",
        "torch": torch.__version__,
        "copy GB/s": bench.copy_rate / 1e9,
        **{f"{name} TFLOP/s": rate / 1e12 for name, rate in bench.matrix_rate.items()},
    }


def kernels(bench: Bench) -> dict[str, Any]:
    """Gradients, rows and curvature: bytes read and written a second, share of a copy's."""
    n, d, C = bench.size(20_000, 30), bench.size(2048, 7), 10
    features = bench.random(n, d)
    p = torch.softmax(bench.random(n, C), dim=1)
    labels = torch.randint(0, C, (n,), device=bench.device)
    results = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, q = features.to(dtype), p.to(dtype)
        out = torch.empty(n, C * (d + 1), dtype=dtype, device=bench.device)
        dprune.last_layer_gradients(x, q, labels, out)
        e = q.float() - torch.nn.functional.one_hot(labels, C)
        h = torch.cat([x.float(), torch.ones(n, 1, device=bench.device)], dim=1)
        expected = (e[:, :, None] * h[:, None, :]).reshape(n, -1).to(dtype)
        assert torch.equal(out, expected)
        del e, h, expected
        took = bench.seconds(
            lambda x=x, q=q, out=out: dprune.last_layer_gradients(x, q, labels, out)
        )
        rate = (x.nbytes + q.nbytes + out.nbytes) / took
        results[f"gradients {dtype} GB/s"] = rate / 1e9
        results[f"gradients {dtype} of copy"] = rate / bench.copy_rate
    values = bench.random(n, 16 * C)
    expected = values.reshape(n, 16, C)
    mean = (expected * p[:, None, :]).sum(dim=2, keepdim=True)
    expected = (p[:, None, :] * (expected - mean)).reshape(n, -1)
    work = values.clone()
    gpu.softmax_curvature(p, None, work)
    assert torch.allclose(work, expected, atol=1e-5)
    took = bench.seconds(lambda: gpu.softmax_curvature(p, None, work))
    results["curvature of copy"] = 2 * work.nbytes / took / bench.copy_rate
    return results


def products(bench: Bench) -> dict[str, Any]:
    """Gram blocks and Hessian-vector products: operations a second, share of the matrix rate."""
    results = {}
    b, N = bench.size(256, 8), bench.size(20_490, 12)
    for dtype in (torch.float32, torch.bfloat16):
        S = bench.random(b, N, dtype=dtype)
        K = torch.empty(b, b, device=bench.device)
        name = str(dtype).removeprefix("torch.")
        machine = gpu.machine_of(S)

        def gram(S=S, K=K, name=name, machine=machine) -> None:
            at = S.data_ptr()
            _cuda.product(machine, name, False, True, b, b, N, at, at, K.data_ptr())

        gram()
        bench.wait()
        exact = S.double() @ S.double().T
        assert (K - exact).abs().max() <= 1e-5 * exact.diagonal().max()
        rate = 2 * b * b * N / bench.seconds(gram)
        results[f"Gram {name} of matrix rate"] = rate / bench.matrix_rate[name]
    n, d, C, columns = bench.size(50_000, 60), bench.size(2048, 5), 10, bench.size(256, 3)
    X, y = influence_sizes.features(n, d, C)
    theta = 0.01 * np.random.default_rng(0).standard_normal((C, d + 1))
    small = dprune.LastLayer(X, y, 5e-4, theta)
    hessian = DeviceHessian(small, bench.device)
    V = torch.randn(columns, hessian.width, dtype=torch.float64, device=bench.device)
    found = hessian.product(V[:1]).cpu().numpy()
    expected = small.hessian.product(V[:1].cpu().numpy().T).T
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)
    rate = 4 * n * (d + 1) * C * columns / bench.seconds(lambda: hessian.product(V))
    results["Hv float64 TFLOP/s"] = rate / 1e12
    results["Hv of matrix rate"] = rate / bench.matrix_rate["float64"]
    return results


def certificate(bench: Bench) -> dict[str, Any]:
    """A result's norm against NumPy's, in float64, from rows on the CPU."""
    S = instances.gaussian("I2", scale=bench.size(10, 1) / 100).S
    S = S if not bench.dry else S[:200, :20].copy()
    tensor = torch.from_numpy(S).to(bench.device)
    r = dprune.prune(tensor, fraction=0.4, sweeps=20)
    again = dprune.prune(tensor, fraction=0.4, sweeps=20)
    norm = np.linalg.norm(S[r.removed].sum(axis=0, dtype=np.float64))
    assert abs(r.norm - norm) <= 1e-6 * norm
    assert (r.mask == again.mask).all()  # same seed, same subset
    return {"relative error": abs(r.norm - norm) / norm, "same subset twice": True}


def metric(bench: Bench) -> dict[str, Any]:
    """What the metric of the walks gives on steep spectra: norm / random at the same sweeps."""
    n, N, sweeps = bench.size(20_000, 600), bench.size(1024, 60), bench.size(100, 30)
    rng = np.random.default_rng(0)
    scaled = rng.standard_normal((n, N), dtype=np.float32) / np.arange(1, N + 1, dtype=np.float32)
    turn = np.linalg.qr(rng.standard_normal((N, N)))[0].astype(np.float32)
    results: dict[str, Any] = {"n, N, sweeps": [n, N, sweeps], "seed": 0, "CPU threads": 2}
    chosen = solve.metric
    for kind, S in (("scaled", scaled), ("rotated", np.ascontiguousarray(scaled @ turn))):
        tensor = torch.from_numpy(S).to(bench.device)
        runs = {"CPU": dprune.prune(S, fraction=0.4, sweeps=sweeps, threads=2)}
        runs["device"] = dprune.prune(tensor, fraction=0.4, sweeps=sweeps)
        solve.metric = lambda *_: EUCLIDEAN
        runs["device, Euclidean"] = dprune.prune(tensor, fraction=0.4, sweeps=sweeps)
        solve.metric = chosen
        for name, r in runs.items():
            norm = np.linalg.norm(S[r.removed].sum(axis=0, dtype=np.float64))
            assert abs(r.norm - norm) <= 1e-6 * norm
            results[f"{kind}, {name}"] = r.norm / r.random_norm
            results[f"{kind}, {name}, seconds"] = r.seconds
        assert runs["CPU"].settings["metric"] == runs["device"].settings["metric"] == kind
    return results


def _race(bench: Bench, name: str) -> dict[str, Any]:
    """Shortest GPU run, set-up included, as good as the CPU's 30 s on two threads."""
    instance = instances.gaussian(name, scale=0.004 if bench.dry else 1.0)
    S, m = instance.S, instance.m
    if bench.dry:
        S = np.ascontiguousarray(S[:, :30])
    limit = 0.2 if bench.dry else 30.0
    cpu = dprune.prune(S, m=m, threads=2, sweeps=10**8, time_limit=limit)
    tensor = torch.from_numpy(S).to(bench.device)
    bench.wait()
    results: dict[str, Any] = {
        "instance": instance.describe(),
        "cpu norm / random": cpu.norm / cpu.random_norm,
        "cpu seconds": cpu.seconds,
    }
    for dtype in (torch.float32, torch.bfloat16):
        rows = tensor.to(dtype)
        runs, reached = [], None
        for seconds in (0.3, 1.0, 3.0, 10.0):
            r = dprune.prune(rows, m=m, sweeps=10**8, time_limit=seconds / (10 if bench.dry else 1))
            exact = np.linalg.norm(S[r.removed].sum(axis=0, dtype=np.float64))
            runs.append([r.seconds, exact / cpu.random_norm, r.settings["done_sweeps"]])
            if exact <= cpu.norm and reached is None:
                reached = r.seconds
        results[f"{dtype} seconds, norm / random, sweeps"] = runs
        results[f"{dtype} seconds to the CPU's norm"] = reached
        results[f"{dtype} times sooner"] = None if reached is None else cpu.seconds / reached
    return results


def race_i2(bench: Bench) -> dict[str, Any]:
    """I2."""
    return _race(bench, "I2")


def race_i5(bench: Bench) -> dict[str, Any]:
    """I5: 4.1 GB."""
    return _race(bench, "I5")


def large(bench: Bench) -> dict[str, Any]:
    """A million rows of 20,490 numbers in bfloat16, 41 GB, in place."""
    n, N = bench.size(1_000_000, 300), bench.size(20_490, 20)
    S = torch.empty(n, N, dtype=torch.bfloat16, device=bench.device)
    scale = torch.arange(1, N + 1, device=bench.device) ** -0.75
    for start in range(0, n, 8192):
        part = S[start : start + 8192]
        part.copy_(bench.random(*part.shape) * scale)
    r = dprune.prune(S, fraction=0.4, sweeps=30, time_limit=40.0)
    index = torch.from_numpy(r.removed).to(bench.device)
    total = torch.zeros(N, dtype=torch.float64, device=bench.device)
    for start in range(0, len(index), 65_536):
        total += S[index[start : start + 65_536]].double().sum(dim=0)
    assert abs(float(total.norm()) - r.norm) <= 1e-6 * r.norm
    return {
        "GB": S.nbytes / 1e9,
        "norm / random": r.norm / r.random_norm,
        "seconds": r.seconds,
        "sweeps": r.settings["done_sweeps"],
        "peak GB": 0 if bench.dry else torch.cuda.max_memory_allocated() / 1e9,
    }


def f2(bench: Bench) -> dict[str, Any]:
    """F2: factored rows of a Tiny ImageNet / ResNet-50 head, 164 GB if they were dense."""
    n, k, d = bench.size(100_000, 200), bench.size(199, 4), bench.size(2048, 9)
    a = torch.relu(bench.random(n, d) * torch.arange(1, d + 1, device=bench.device) ** -0.5)
    a = torch.cat([a, torch.ones(n, 1, device=bench.device)], dim=1)
    b = torch.softmax(3 * bench.random(n, k), dim=1)
    b -= torch.nn.functional.one_hot(torch.randint(0, k, (n,), device=bench.device), k)
    r = dprune.prune(dprune.FactoredRows(b, a), fraction=0.4, sweeps=60, time_limit=20.0)
    index = torch.from_numpy(r.removed).to(bench.device)
    total = b[index].double().T @ a[index].double()
    assert abs(float(total.norm()) - r.norm) <= 1e-6 * r.norm
    return {
        "norm / random": r.norm / r.random_norm,
        "seconds": r.seconds,
        "sweeps": r.settings["done_sweeps"],
    }


def _head(bench: Bench, shape: str) -> dprune.LastLayer:
    n, d, C, lam = influence_sizes.SHAPES[shape]
    if bench.dry:
        n, d, C = 60, 6, 4
    X, y = influence_sizes.features(n, d, C)
    ridge = dprune.LastLayer.fit(X, y, 1e-2, criterion="squared", classes=C)
    return dprune.LastLayer(X, y, lam, 8.0 * (ridge.theta - ridge.theta.mean(axis=0)))


def exact(bench: Bench) -> dict[str, Any]:
    """Exact rows of a ResNet-50 head, n = 50,000, C = 10."""
    model = _head(bench, "resnet50")
    start = time.perf_counter()
    S = device_influence(model, "dense", device=str(bench.device))
    bench.wait()
    took = time.perf_counter() - start
    assert S.residuals.max() < 1e-8
    return {"seconds": took, "shape": list(S.shape), "residual": float(S.residuals.max())}


def sketch(bench: Bench) -> dict[str, Any]:
    """Rank-1,024 sketch of a ResNet-50 head, n = 100,000, C = 200."""
    model = _head(bench, "tiny")
    start = time.perf_counter()
    S = device_influence(model, "pcg", bench.size(1024, 5), device=str(bench.device))
    bench.wait()
    took = time.perf_counter() - start
    assert S.residuals.max() <= 1.1e-4
    return {"seconds": took, "left out": S.left_out, "iterations": S.iterations}


SECTIONS = {
    "device": device,
    "kernels": kernels,
    "products": products,
    "certificate": certificate,
    "metric": metric,
    "I2": race_i2,
    "I5": race_i5,
    "large": large,
    "F2": f2,
    "exact": exact,
    "sketch": sketch,
}


def main() -> None:
    """Run the sections; exit status 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="build/gpu", help="folder of the raw output")
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--dry", action="store_true", help="toy sizes, no device")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    unknown = set(names) - set(SECTIONS)
    if unknown:
        parser.error(f"sections are {', '.join(SECTIONS)}; found {', '.join(sorted(unknown))}")
    if not arguments.dry and not backend.cuda_devices():
        parser.error("no usable CUDA device; --dry goes through the steps without one")
    bench = Bench(arguments.dry)
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    with (folder / "gpu.jsonl").open("w") as raw:
        # What the device can do comes first: the others are held against it.
        for name in dict.fromkeys(["device", *names]):
            start = time.perf_counter()
            try:
                found = SECTIONS[name](bench)
            except Exception:
                failed = True
                found = {"failed": traceback.format_exc()}
            line = {"section": name, **found, "section seconds": time.perf_counter() - start}
            raw.write(json.dumps(line) + "\n")
            raw.flush()
            print(json.dumps(line, indent=1), flush=True)
            if not bench.dry:
                torch.cuda.empty_cache()
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
