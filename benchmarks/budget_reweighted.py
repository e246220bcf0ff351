"""Eq. 3 at reweight 1 on E1-E3: 3 s of the block solver beside 30 s of the plain annealer.

python benchmarks/budget_reweighted.py

eps is a tenth and a thirtieth of the norm of a random half. Both search the size by solves of fixed
size; the plain annealer has ten times as long for them. One thread; NumPy certifies every answer.
"""

from __future__ import annotations

import numpy as np

import dprune
import instances


def main() -> None:
    print("instance       eps   block, 3 s   plain, 30 s   of")
    for name in ("E1", "E2", "E3"):
        S = instances.budget(name).S
        n, mean = len(S), S.mean(axis=0, dtype=np.float64)
        half = dprune.prune(S, m=n // 2, reweight=1.0, sweeps=1, threads=1).random_norm
        for share in (0.1, 1 / 30):
            eps = share * half
            removed = []
            for solver, limit in (("block", 3.0), ("anneal", 30.0)):
                r = dprune.prune(
                    S,
                    eps,
                    reweight=1.0,
                    solver=solver,
                    time_limit=limit,
                    sweeps=10**6,
                    threads=1,
                )
                m = len(r.removed)
                u = S[r.removed].sum(axis=0, dtype=np.float64) - m * mean
                assert np.linalg.norm(u) / (1 - m / n) <= eps * (1 + 1e-9)
                removed.append(m)
            print(f"{name:8s} {eps:9.3f}   {removed[0]:10d}   {removed[1]:11d}   {n}", flush=True)


if __name__ == "__main__":
    main()
