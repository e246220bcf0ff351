"""Seconds a sweep of the block solver from 10 thousand to a million rows, and the exponent in n.

python benchmarks/scaling.py [N, default 64] [sweeps, default 10]

Rows as in I4 (s_j^2 = 1/j, 30 % removed), one thread. A sweep is what one more costs: the time for
`sweeps` less that for none but the set-up, by two runs of different length; the middle of three.
"""

from __future__ import annotations

import statistics
import sys

import numpy as np

import dprune

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)


def main(width: int = 64, sweeps: int = 10) -> None:
    rng = np.random.default_rng(0)
    S = rng.standard_normal((max(SIZES), width), dtype=np.float32)
    S *= np.arange(1, width + 1, dtype=np.float32) ** np.float32(-0.5)
    print(f"N={width}, 30 % removed, one thread, {sweeps} and {3 * sweeps} sweeps")
    print("       n   ms a sweep   ns a row   norm / random")
    seconds = []
    for n in SIZES:
        differences = []
        for seed in range(3):
            short, long = (solve(S[:n], seed, k * sweeps) for k in (1, 3))
            done = long.settings["done_sweeps"] - short.settings["done_sweeps"]
            differences.append((long.seconds - short.seconds) / done)
        seconds.append(statistics.median(differences))
        print(
            f"{n:8d}   {1e3 * seconds[-1]:10.2f}   {1e9 * seconds[-1] / n:8.1f}   "
            f"{long.norm / long.random_norm:.4f}",
            flush=True,
        )
    for first in (0, 1):
        exponent = np.polyfit(np.log(SIZES[first:]), np.log(seconds[first:]), 1)[0]
        print(f"from {SIZES[first]} rows on, seconds a sweep grow as n^{exponent:.3f}")


def solve(S: np.ndarray, seed: int, sweeps: int) -> dprune.PruneResult:
    r = dprune.prune(S, fraction=0.3, seed=seed, sweeps=sweeps, threads=1)
    norm = np.linalg.norm(S[r.removed].sum(axis=0, dtype=np.float64))
    assert abs(norm - r.norm) <= 1e-5 * norm + 1e-9 * r.random_norm
    return r


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
