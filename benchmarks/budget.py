"""Eq. 3 on E1-E3: removed beside the dual upper bound, at three eps and two reweights.

python benchmarks/budget.py [time limit in seconds]

eps is bisected so that the bound lies at .5, .65 and .8 n; a share that the bound
exceeds already at eps = 0 is left out.
"""

from __future__ import annotations

import sys

import numpy as np

import dprune
import instances
from dprune.bound import dual_bound
from dprune.sources import source_of


def main(limit: float = 10.0) -> None:
    print(f"prune(S, eps, time_limit={limit:g}, threads=2, seed=0)")
    print("instance   c  bound/n       eps  removed  bound   gap   seconds")
    for name in ("E1", "E2", "E3"):
        S = instances.budget(name).S
        source = source_of(S, 2)
        n = len(S)
        total = source.group_sums(np.zeros(n, dtype=np.int64), 1)[0]
        one = np.zeros(n, dtype=np.int64)
        for reweight in (0.0, 0.5):
            for share in (0.5, 0.65, 0.8):
                low, high = 0.0, float(np.linalg.norm(total))
                for _ in range(18):
                    eps = (low + high) / 2
                    bound = dual_bound(
                        source, total, eps, reweight, one, np.array([n]), np.zeros(n, np.uint8)
                    )
                    low, high = (low, eps) if bound.removed > share * n else (eps, high)
                eps = high
                if eps < 1e-4 * float(np.linalg.norm(total)):
                    print(f"{name:8s} {reweight:3.1f}  {share:6.2f}  exceeded at eps = 0")
                    continue
                r = dprune.prune(S, eps, reweight=reweight, time_limit=limit, threads=2)
                W = r.mask.astype(np.float64)
                m = int(W.sum())
                change = np.linalg.norm(W @ S - reweight * m * total / n) / (1 - reweight * m / n)
                assert change <= eps * (1 + 1e-9)
                print(
                    f"{name:8s} {reweight:3.1f}  {share:6.2f}  {eps:9.3f}  {m:7d} "
                    f"{r.upper_bound:6d}"
                    f"  {1 - m / r.upper_bound:5.2%}  {r.seconds:6.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
