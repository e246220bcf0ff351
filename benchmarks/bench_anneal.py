"""The reference annealer: proposals a second and the norm they buy. `make bench`."""

from __future__ import annotations

import numpy as np
import pytest

import dprune
import instances

SWEEPS = 40


@pytest.mark.parametrize("name", ["I1", "I2", "R0"])
@pytest.mark.benchmark(group=f"plain annealing, {SWEEPS} sweeps, seed 0, 1 thread")
def test_anneal(benchmark, name):
    scale = {} if name == "R0" else {"scale": 0.1}
    instance = instances.BY_NAME[name](**scale)
    result = benchmark.pedantic(
        lambda: dprune.prune(
            instance.S, m=instance.m, reweight=1, solver="anneal", sweeps=SWEEPS, threads=1
        ),
        rounds=3,
    )
    W = np.zeros(len(instance.S))
    W[result.removed] = 1.0
    S = instance.S.astype(np.float64)
    exact = np.linalg.norm(W @ (S - S.mean(axis=0))) / (1 - instance.m / len(S))
    assert result.norm == pytest.approx(exact, rel=1e-9)
    assert result.norm < 0.6 * result.random_norm
    proposals = result.settings["done_sweeps"] * len(S)
    benchmark.extra_info["instance"] = instance.describe()
    benchmark.extra_info["norm / random"] = round(result.norm / result.random_norm, 4)
    benchmark.extra_info["proposals/s"] = f"{proposals / benchmark.stats['median']:.2e}"
