"""How often the block solver reaches the exact optimum of Eq. 4 on middling random problems.

python benchmarks/exact.py [INSTANCES] [SWEEPS]

n = 24 to 36 and N = 2 to 8, standard normal rows, a quarter to a half removed; optima by meeting in
the middle (tests/solver_oracle.py). The oracle takes nearly all of the time.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import numpy as np

import dprune

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import solver_oracle as oracle


def main(instances: int = 100, sweeps: int = 100_000) -> None:
    rng = np.random.default_rng(0)
    reached, seconds = 0, []
    for seed in range(instances):
        n, N = int(rng.integers(24, 37)), int(rng.integers(2, 9))
        m = int(rng.integers(n // 4, n // 2 + 1))
        S = rng.standard_normal((n, N)).astype(np.float32)
        r = dprune.prune(S, m=m, seed=seed, sweeps=sweeps, threads=1)
        best = oracle.meet_in_the_middle(S, m)
        assert r.norm >= best - 1e-5
        hit = r.norm <= best + 1e-5
        reached += hit
        seconds.append(r.seconds)
        if not hit:
            print(f"n={n} N={N} m={m} seed={seed}: {r.norm:.6f}, optimum {best:.6f}")
    print(
        f"{reached} of {instances} optima, {sweeps} sweeps, one thread, "
        f"{statistics.median(seconds):.2f} s in the median"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
