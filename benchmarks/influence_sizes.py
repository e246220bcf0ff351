"""Time and peak memory of influence rows, sketches and exact norms at the sizes of real heads.

python benchmarks/influence_sizes.py CASE [--threads T]

Features are clustered and rectified (``relu(mu_y + z)``, 1/j spectrum), labels the clusters with
5 % of them drawn at random; theta is the least-squares solution scaled to logits, since what the
rows cost does not depend on theta being the minimiser. One case a process: the peak is its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# n, d, C, lam
SHAPES = {
    "resnet18": (50_000, 512, 10, 5e-4),
    "resnet50": (50_000, 2048, 10, 5e-4),
    "c100": (50_000, 512, 100, 5e-4),
    "tiny": (100_000, 2048, 200, 5e-4),
}
CASES = (
    "resnet18-rows",
    "resnet50-rows",
    "resnet50-sketch1024",
    "c100-factored",
    "c100-sketch512",
    "tiny-factored",
)


def features(n: int, d: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    scale = (np.arange(1, d + 1) ** -0.5).astype(np.float32)
    centres = 1.5 * rng.standard_normal((classes, d), dtype=np.float32) * scale
    labels = rng.integers(0, classes, n)
    X = np.empty((n, d), dtype=np.float32)
    for start in range(0, n, 4096):
        part = X[start : start + 4096]
        rng.standard_normal(out=part, dtype=np.float32)
        part *= scale
        part += centres[labels[start : start + 4096]]
        np.maximum(part, 0, out=part)
    flipped = rng.random(n) < 0.05
    labels[flipped] = rng.integers(0, classes, int(flipped.sum()))
    return X, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", help="write rows to this memory map")
    arguments = parser.parse_args()
    # Before NumPy's BLAS starts its threads.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name) != str(arguments.threads):
            os.environ[name] = str(arguments.threads)
            os.execv(sys.executable, [sys.executable, *sys.argv])
    import dprune

    shape, what = arguments.case.split("-")
    n, d, classes, lam = SHAPES[shape]
    X, y = features(n, d, classes)
    ridge = dprune.LastLayer.fit(X, y, 1e-2, criterion="squared")
    theta = 8.0 * (ridge.theta - ridge.theta.mean(axis=0))
    head = dprune.LastLayer(X, y, lam, theta)
    del ridge
    print(
        f"{arguments.case}: n = {n}, d = {d}, C = {classes}, N = {(classes - 1) * (d + 1)}, "
        f"lam = {lam}, {arguments.threads} threads; head right on "
        f"{np.mean(head.probabilities.argmax(axis=1) == y):.3f}, "
        f"mean 1 - sum p^2 {1 - np.sum(head.probabilities**2, axis=1).mean():.3f}"
    )
    if what == "rows":
        S = timed("rows", lambda: dprune.influence(head, "dense", out=arguments.out))
        print(f"  largest row error of 32 {S.error:.1e}, residual {S.residuals.max():.1e}")
    elif what.startswith("sketch"):
        rank = int(what.removeprefix("sketch"))
        S = timed("sketch", lambda: dprune.influence(head, rank=rank))
        print(
            f"  {S.method} ({S.reason}), {S.iterations} iterations, largest residual "
            f"{S.residuals.max():.1e}, left out {S.left_out:.3f}"
        )
    else:
        S = timed("factored rows", lambda: dprune.influence(head, "kfac"))
        print(f"  largest row error of a sample {S.error}")
        removed = np.random.default_rng(1).choice(n, n // 2, replace=False)
        change = timed("one exact norm", lambda: head.change(removed))
        print(f"  residual {change.residual:.1e}")


def timed(name: str, run: Callable[[], Any]) -> Any:
    start, busy = time.perf_counter(), time.process_time()
    result = run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    times = f"{time.perf_counter() - start:.1f} s, processor {time.process_time() - busy:.1f} s"
    print(f"  {name}: {times}, peak {peak:.2f} GiB", flush=True)
    return result


if __name__ == "__main__":
    main()
