"""The population of chains: exact on small problems, quotas kept, lanes without influence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dprune
import solver_oracle as oracle
from dprune import _core, _cuda
from oracle import to_bfloat16


def rows(n, width, seed=0, heavy=0.0):
    rng = np.random.default_rng(seed)
    S = rng.standard_normal((n, width)) * np.exp(heavy * rng.standard_normal((n, 1)))
    return S.astype(np.float32)


def solve(
    S, m=None, *, machine=None, dtype="float32", eps=np.inf, labels=None, floors=None,
    proportional=False, protect=None, reweight=0.0, seed=0, sweeps=100, chains=8, callback=None,
):  # fmt: skip
    n = len(S)
    machine = machine or _cuda.HostMachine()
    values = S
    if dtype == "bfloat16":
        S, values = to_bfloat16(S)
    memory = _cuda.Memory(machine, S)
    store = _cuda.DenseRows(machine, memory.address, *S.shape, dtype)
    labels = np.zeros(n, np.int64) if labels is None else labels
    floors = np.zeros(labels.max() + 1, np.int64) if floors is None else floors
    protect = np.zeros(n, np.uint8) if protect is None else protect.astype(np.uint8)
    solver = _cuda.Solver(
        store,
        values.mean(axis=0, dtype=np.float64),
        store.squared_norms(),
        None,
        None,
        reweight,
        labels,
        floors,
        proportional,
        protect,
        "block",
        seed,
        1,
        np.inf,
        chains,
    )
    found = solver.solve(m, n - 1, eps, sweeps, np.inf, None, callback)
    return found["mask"].astype(bool), found


def change(S, mask, reweight=0.0):
    S = S.astype(np.float64)
    m = mask.sum()
    return np.linalg.norm(S[mask].sum(axis=0) - reweight * m * S.mean(axis=0)) / (
        1 - reweight * m / len(S)
    )


@settings(max_examples=20, deadline=None)
@given(
    n=st.integers(2, 12),
    width=st.integers(1, 6),
    share=st.floats(0, 1),
    reweight=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_equals_brute_force(n, width, share, reweight, seed):
    S = rows(n, width, seed)
    m = min(n - 1, round(share * n))
    mask, _ = solve(S, m, reweight=reweight, seed=seed, sweeps=1000, chains=64)
    masks = oracle.all_masks(n)
    best = oracle.least_change(S, masks[oracle.allowed(masks, m)], reweight)
    assert mask.sum() == m
    assert change(S, mask, reweight) <= best + 2e-6 * np.linalg.norm(S)


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(4, 12),
    groups=st.integers(1, 3),
    proportional=st.booleans(),
    min_keep=st.integers(0, 2),
    share=st.floats(0, 1),
    seed=st.integers(0, 10**6),
)
def test_equals_brute_force_under_rules(n, groups, proportional, min_keep, share, seed):
    rng = np.random.default_rng(seed)
    S = rows(n, 3, seed)
    labels = rng.integers(0, groups, n)
    labels[:groups] = np.arange(groups)
    protect = rng.random(n) < 0.2
    sizes = np.bincount(labels)
    floors = np.minimum(sizes, np.maximum(min_keep, np.bincount(labels[protect], minlength=groups)))
    most = n - floors.sum()
    if most == 0:
        return
    m = round(share * most)
    mask, _ = solve(
        S, m, labels=labels, floors=floors, proportional=proportional, protect=protect,
        sweeps=1000, chains=64,
    )  # fmt: skip
    counts = np.array(_core.removed_counts(labels, floors, proportional, m))
    masks = oracle.all_masks(n)
    rule = {"removed_counts": counts} if proportional else {"most_removed": sizes - floors}
    ok = oracle.allowed(masks, m, labels, protect=protect, **rule)
    assert change(S, mask) <= oracle.least_change(S, masks[ok]) + 2e-6 * np.linalg.norm(S)
    assert not (mask & protect).any()
    removed = np.bincount(labels[mask], minlength=groups)
    assert (removed == counts).all() if proportional else (removed <= sizes - floors).all()


def test_many_strata_end_on_target():
    labels = np.arange(2400) % 60
    S = rows(2400, 30) + 3 * rows(60, 30, seed=1)[labels]
    mask, _ = solve(S, 720, labels=labels, proportional=True, sweeps=60, chains=3, reweight=1.0)
    assert (np.bincount(labels[mask]) == 12).all()
    random = dprune.prune(S, m=720, reweight=1, groups=labels, balance="proportional", sweeps=1)
    assert change(S, mask, 1.0) < 0.2 * random.random_norm


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lanes_do_not_matter(dtype):
    S = rows(120, 10)
    masks = [
        solve(S, 40, machine=_cuda.HostMachine(lanes), dtype=dtype, sweeps=6, chains=3)[0]
        for lanes in (1, 2, 5)
    ]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] == masks[2]).all()
    assert (masks[0] != solve(S, 40, dtype=dtype, sweeps=6, chains=3, seed=1)[0]).any()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("heavy", [0.0, 1.5])
def test_as_good_as_the_cpu_solver(machine, dtype, heavy):
    if getattr(machine, "lanes", 1) > 1:
        pytest.skip("threads are slow")
    S = rows(2300, 30, heavy=heavy)  # two blocks and more; scattered rows where tails are heavy
    mask, found = solve(S, 700, machine=machine, dtype=dtype, sweeps=40, chains=6)
    values = to_bfloat16(S)[1] if dtype == "bfloat16" else S
    cpu = dprune.prune(values, m=700, sweeps=40)
    assert mask.sum() == 700
    assert found["sweeps"] >= 39
    assert change(values, mask) < 1.1 * cpu.norm
    assert found["trace"][-1][2] == pytest.approx(change(values, mask), rel=1e-6)


def test_budget(machine):
    if getattr(machine, "lanes", 1) > 1:
        pytest.skip("threads are slow")
    S = rows(60, 4)
    S += 0.3
    mask, _ = solve(S, eps=10.0, machine=machine, sweeps=2000, chains=4)
    assert change(S, mask) <= 10.0
    cpu = dprune.prune(S, eps=10.0, sweeps=2000)
    assert mask.sum() >= len(cpu.removed) - 1


def test_callback_stops_and_its_error_surfaces():
    S = rows(3000, 20)
    _, found = solve(S, 900, sweeps=10**6, chains=2, callback=lambda *point: point[0] > 0.2)
    assert found["status"] == "stopped"

    def fail(*point):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        solve(S, 900, sweeps=10**6, chains=2, callback=fail)
