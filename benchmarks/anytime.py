"""Anytime curves: the block solver beside the plain annealer, one thread, set-up included.

python benchmarks/anytime.py INSTANCE SECONDS[,SECONDS...] SEEDS [REWEIGHT]

Norms are relative to a random subset of the same size, certified in float64 by NumPy; medians over
the seeds. A name such as I2/0.2 is the instance with a fifth of the rows.
"""

from __future__ import annotations

import statistics
import sys

import numpy as np

import dprune
import instances


def main(name: str, limits: str, seeds: str, reweight: str = "0") -> None:
    base, _, scale = name.partition("/")
    instance = instances.BY_NAME[base](**({"scale": float(scale)} if scale else {}))
    S, m, c = instance.S, instance.m, float(reweight)
    mean = S.mean(axis=0, dtype=np.float64)
    print(f"{instance.describe()}  threads=1 seeds 0..{int(seeds) - 1} reweight={c:g}")
    print("limit s   solver   median norm / random   all                          seconds")
    for limit in map(float, limits.split(",")):
        for solver in ("block", "anneal"):
            norms, seconds = [], []
            for seed in range(int(seeds)):
                r = dprune.prune(
                    S,
                    m=m,
                    reweight=c,
                    solver=solver,
                    seed=seed,
                    threads=1,
                    sweeps=10**8,
                    time_limit=limit,
                )
                u = S[r.removed].sum(axis=0, dtype=np.float64) - c * m * mean
                norm = np.linalg.norm(u) / (1 - c * m / len(S))
                assert len(r.removed) == m
                assert abs(norm - r.norm) <= 1e-5 * norm + 1e-9 * r.random_norm
                norms.append(r.norm / r.random_norm)
                seconds.append(r.seconds)
            listed = " ".join(f"{x:.4f}" for x in norms)
            print(
                f"{limit:7g}   {solver:6s}   {statistics.median(norms):20.4f}   {listed}   "
                f"{statistics.median(seconds):.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
