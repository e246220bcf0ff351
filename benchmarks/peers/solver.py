"""Eq. 4 by dprune and by what a user would otherwise take, in one run, certified by NumPy.

In a virtual environment of its own:

    python -m venv .venv-peers
    .venv-peers/bin/pip install numpy scipy scikit-build-core pybind11 cmake ninja
    .venv-peers/bin/pip install goodpoints dwave-samplers
    .venv-peers/bin/pip install --no-build-isolation --no-deps .
    OPENBLAS_NUM_THREADS=1 .venv-peers/bin/python benchmarks/peers/solver.py

goodpoints: kernel thinning (kt.thin_K) of centred rows to a half, with the linear kernel: what it
keeps small, the length of the kept rows' sum, is that of the removed ones. n = 2,000 and 10,000,
N = 510, s_j^2 = 1/j.
dwave-samplers: tabu search and simulated annealing on the QUBO of the Gram matrix with a penalty
(sum W - m)^2 of the mean squared row norm. n = 1,000, N = 64, s_j^2 = j^-1/2, m = 300.

One thread each. A peer's seconds include its kernel matrix or QUBO; dprune is given a tenth of
them, then as many, set-up and certificate included.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version

import dimod
import numpy as np
from dwave.samplers import SimulatedAnnealingSampler, TabuSampler
from goodpoints import kt

import dprune


def main() -> None:
    names = ("dprune", "goodpoints", "dwave-samplers", "numpy")
    print(", ".join(f"{name} {version(name)}" for name in names))
    print("| instance | by | seconds | norm / random | dprune, a tenth | dprune, as long |")
    print("|---|---|---|---|---|---|")
    for n in (2_000, 10_000):
        S = rows(n, 510, 1.0)
        compare(f"n = {n}, N = 510, half", S, n // 2, "kt.thin_K", lambda S=S: thinned(S))
    S, m = rows(1_000, 64, 0.5), 300
    for seconds in (1, 10):
        compare(
            "n = 1000, N = 64, 300",
            S,
            m,
            f"Tabu, {seconds} s",
            lambda seconds=seconds: removed(
                TabuSampler().sample(qubo(S, m), timeout=1000 * seconds, num_reads=1, seed=0), m
            ),
        )
    for sweeps in (1_000, 10_000):
        compare(
            "n = 1000, N = 64, 300",
            S,
            m,
            f"annealing, {sweeps} sweeps",
            lambda sweeps=sweeps: removed(
                SimulatedAnnealingSampler().sample(
                    qubo(S, m), num_reads=1, num_sweeps=sweeps, seed=0
                ),
                m,
            ),
        )


def rows(n: int, width: int, exponent: float) -> np.ndarray:
    S = np.random.default_rng(0).standard_normal((n, width), dtype=np.float32)
    S *= np.arange(1, width + 1, dtype=np.float32) ** np.float32(-exponent / 2)
    S -= S.mean(axis=0, dtype=np.float64).astype(np.float32)
    return S


def thinned(S: np.ndarray) -> np.ndarray | None:
    K = S.astype(np.float64) @ S.T.astype(np.float64)
    return np.asarray(kt.thin_K(K, K, 1, seed=0, unique=True))


def qubo(S: np.ndarray, m: int) -> dimod.BinaryQuadraticModel:
    """x^T G x + penalty (sum x - m)^2."""
    G = S.astype(np.float64) @ S.T.astype(np.float64)
    penalty = float(np.diag(G).mean())
    Q = G + penalty
    Q[np.diag_indices(len(S))] -= 2 * penalty * m
    return dimod.BinaryQuadraticModel(Q, dimod.BINARY)


def removed(samples: dimod.SampleSet, m: int) -> np.ndarray | None:
    """The best sample of the right size, if there is one."""
    for record in samples.data(sorted_by="energy"):
        W = np.array([record.sample[i] for i in range(len(record.sample))])
        if W.sum() == m:
            return np.flatnonzero(W)
    return None


def compare(
    instance: str, S: np.ndarray, m: int, name: str, run: Callable[[], np.ndarray | None]
) -> None:
    start = time.perf_counter()
    chosen = run()
    seconds = time.perf_counter() - start
    theirs = "none of this size"
    reference = 1.0
    ours = []
    for share in (0.08, 0.8):
        r = dprune.prune(S, m=m, seed=0, threads=1, sweeps=10**8, time_limit=share * seconds)
        assert len(r.removed) == m
        reference = r.random_norm
        ours.append(f"{length(S, r.removed) / reference:.4f} in {r.seconds:.3f} s")
    if chosen is not None:
        assert len(np.unique(chosen)) == m
        theirs = f"{length(S, chosen) / reference:.4f}"
    print(f"| {instance} | {name} | {seconds:.2f} | {theirs} | {' | '.join(ours)} |", flush=True)


def length(S: np.ndarray, chosen: np.ndarray) -> float:
    return float(np.linalg.norm(S[chosen].sum(axis=0, dtype=np.float64)))


if __name__ == "__main__":
    main()
