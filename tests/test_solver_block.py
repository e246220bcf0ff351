"""The block solver: exact on small problems, quotas kept, the same bits on any threads."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dprune
import solver_oracle as oracle
from dprune import _core


def rows(n, width, seed=0, heavy=0.0):
    rng = np.random.default_rng(seed)
    S = rng.standard_normal((n, width)) * np.exp(heavy * rng.standard_normal((n, 1)))
    return S.astype(np.float32)


def direct_norm(S, r, reweight):
    """The certificate in NumPy."""
    m = len(r.removed)
    S = S.astype(np.float64)
    u = S[r.removed].sum(axis=0) - reweight * m * S.mean(axis=0)
    return np.linalg.norm(u) / (1 - reweight * m / len(S))


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 14),
    width=st.integers(1, 6),
    share=st.floats(0, 1),
    reweight=st.sampled_from([0.0, 0.5, 1.0]),
    heavy=st.sampled_from([0.0, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_equals_brute_force(n, width, share, reweight, heavy, seed):
    S = rows(n, width, seed, heavy)
    m = min(n - 1, round(share * n))
    r = dprune.prune(S, m=m, reweight=reweight, seed=seed, sweeps=3000)
    masks = oracle.all_masks(n)
    best = oracle.least_change(S, masks[oracle.allowed(masks, m)], reweight)
    scale = float(np.linalg.norm(S))
    assert len(r.removed) == m
    assert r.norm <= best + 2e-6 * scale
    assert r.norm == pytest.approx(direct_norm(S, r, reweight), abs=1e-12 * scale)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(4, 13),
    width=st.integers(1, 5),
    groups=st.integers(1, 3),
    balance=st.sampled_from([None, "proportional"]),
    min_keep=st.integers(0, 2),
    share=st.floats(0, 1),
    seed=st.integers(0, 10**6),
)
def test_equals_brute_force_under_rules(n, width, groups, balance, min_keep, share, seed):
    rng = np.random.default_rng(seed)
    S = rows(n, width, seed)
    labels = rng.integers(0, groups, n)
    labels[:groups] = np.arange(groups)
    protect = rng.random(n) < 0.2
    sizes = np.bincount(labels)
    floors = np.minimum(sizes, np.maximum(min_keep, np.bincount(labels[protect], minlength=groups)))
    most = n - floors.sum()
    if most == 0:
        return
    m = round(share * most)
    r = dprune.prune(
        S, m=m, groups=labels, balance=balance, min_keep=min_keep, protect=protect, sweeps=3000
    )
    counts = np.array(_core.removed_counts(labels, floors, balance is not None, m))
    masks = oracle.all_masks(n)
    rule = {"removed_counts": counts} if balance else {"most_removed": sizes - floors}
    ok = oracle.allowed(masks, m, labels, protect=protect, **rule)
    assert r.norm <= oracle.least_change(S, masks[ok]) + 2e-6 * np.linalg.norm(S)
    assert not protect[r.removed].any()
    removed = np.bincount(labels[r.removed], minlength=groups)
    assert (removed == counts).all() if balance else (removed <= sizes - floors).all()


@pytest.mark.parametrize("n", [17, 24, 29, 31])
@pytest.mark.parametrize("width", [2, 3, 6])
def test_meets_in_the_middle(n, width):
    """Up to 36 rows the answer is exact, where local search finds every third optimum or so."""
    S = rows(n, width, seed=n)
    m = 2 * n // 5
    r = dprune.prune(S, m=m, sweeps=100_000)
    assert r.norm == pytest.approx(oracle.meet_in_the_middle(S, m), abs=1e-6)


def test_meets_in_the_middle_whatever_the_walk_found():
    """Up to 20 rows it is always done. How far off the walk ends decides what is looked at."""
    for seed in range(100):
        n = 16 + seed % 5
        S = rows(n, 3, seed)
        r = dprune.prune(S, m=n // 2, sweeps=(1, 1000)[seed % 2], seed=seed)
        assert r.norm == pytest.approx(oracle.meet_in_the_middle(S, n // 2), abs=1e-6)


@pytest.mark.parametrize("balance", [None, "proportional"])
def test_meets_in_the_middle_under_rules(balance):
    n, m = 20, 7
    S = rows(n, 3, heavy=1.0) + 0.3
    labels = np.arange(n) % 3
    protect = np.arange(n) == 4
    r = dprune.prune(
        S, m=m, reweight=0.5, groups=labels, balance=balance, min_keep=4, protect=protect
    )
    sizes, floors = np.bincount(labels), np.full(3, 4)
    masks = oracle.all_masks(n)
    counts = np.array(_core.removed_counts(labels, floors, balance is not None, m))
    rule = {"removed_counts": counts} if balance else {"most_removed": sizes - floors}
    masks = masks[oracle.allowed(masks, m, labels, protect=protect, **rule)]
    assert r.norm == pytest.approx(oracle.least_change(S, masks, 0.5), abs=1e-6)


@pytest.mark.parametrize("n", [60, 700])
@pytest.mark.parametrize("balance", [None, "proportional"])
def test_no_swap_is_left_that_gains(n, balance):
    """The end of a search among rows that are one block."""
    S = rows(n, 30, heavy=0.5)
    labels = np.arange(n) % 4
    protect = np.arange(n) % 10 == 0
    r = dprune.prune(
        S, fraction=0.5, groups=labels, balance=balance, min_keep=n // 9, protect=protect, sweeps=99
    )
    assert not protect[r.removed].any()
    kept_counts = np.bincount(labels[r.kept], minlength=4)
    assert (kept_counts >= n // 9).all()
    free = r.kept[~protect[r.kept]]
    S = S.astype(np.float64)
    u = S[r.removed].sum(axis=0)
    swapped = u - S[r.removed][:, None] + S[free][None, :]
    norms = np.linalg.norm(swapped, axis=2)
    same = labels[r.removed][:, None] == labels[free]
    allowed = same if balance else same | (kept_counts[labels[free]] > n // 9)
    assert norms[allowed].min() >= r.norm * (1 - 1e-6)


def test_tabu_goes_on_where_a_walk_is_stuck():
    """With few dimensions to a row far better subsets lie some swaps away."""
    ratios = []
    for seed in range(6):
        S = rows(200, 8, seed)
        block = dprune.prune(S, m=90, sweeps=2000, seed=seed)
        ratios.append(block.norm / dprune.prune(S, m=90, sweeps=2000, solver="anneal").norm)
    assert np.mean(ratios) < 0.7


@pytest.mark.parametrize("shape", [(300, 20), (5000, 40)])
def test_same_bits_on_any_threads(shape):
    S = rows(*shape, heavy=1.0)
    labels = np.arange(shape[0]) % 7
    masks = [
        dprune.prune(
            S,
            fraction=0.4,
            groups=labels,
            balance="proportional",
            sweeps=40,
            seed=3,
            threads=threads,
        ).mask
        for threads in (1, 2, 4, 7)
    ]
    assert all((mask == masks[0]).all() for mask in masks[1:])


def test_heavy_tailed_rows_end_far_below_the_plain_walk():
    """The strata's multipliers fall with the temperature: rows far below it would follow them."""
    S = rows(4000, 200, heavy=3.0)
    block = dprune.prune(S, fraction=0.3, sweeps=100)
    plain = dprune.prune(S, fraction=0.3, sweeps=100, solver="anneal")
    assert block.norm < 0.5 * plain.norm


def test_denormal_numbers_are_the_callers_again():
    S = rows(3000, 30)
    S[:, 7] = 1e-30  # products of two such are denormal
    r = dprune.prune(S, fraction=0.3, sweeps=5, solver="anneal")
    assert dprune.prune(S, fraction=0.3, sweeps=50).norm < r.random_norm
    assert np.float32(1e-30) * np.float32(1e-10) > 0.0


@pytest.mark.parametrize("reweight", [0.0, 0.5, 1.0])
def test_quotas_hold_where_classes_differ_in_the_mean(reweight):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 12, 4000)
    S = rows(4000, 60) + 5 * rows(12, 60, seed=1)[labels]
    r = dprune.prune(
        S, fraction=0.3, groups=labels, balance="proportional", reweight=reweight, sweeps=1000
    )
    sizes = np.bincount(labels)
    kept = np.bincount(labels[r.kept], minlength=12)
    assert np.abs(kept - sizes * 0.7).max() <= 1
    plain = dprune.prune(
        S,
        fraction=0.3,
        groups=labels,
        balance="proportional",
        reweight=reweight,
        sweeps=1000,
        solver="anneal",
    )
    assert r.norm < plain.norm
    if reweight == 1.0:  # at c < 1 the classes' means leave a part that no subset can avoid
        assert r.norm < 0.3 * r.random_norm


@pytest.mark.parametrize("heavy", [0.0, 1.5])
def test_beats_the_plain_annealer(heavy):
    S = rows(6000, 128, heavy=heavy)

    def median(solver):  # with even rows the two are close after so few sweeps
        norms = [
            dprune.prune(S, fraction=0.3, sweeps=60, seed=seed, solver=solver).norm
            for seed in range(15)
        ]
        return np.median(norms)

    assert median("block") < median("anneal")


def test_no_rows_at_all_and_equal_rows():
    zero = dprune.prune(np.zeros((50, 3), dtype=np.float32), m=20)
    assert zero.norm == 0
    assert len(zero.removed) == 20
    equal = dprune.prune(np.ones((3000, 3), dtype=np.float32), m=1000, sweeps=20)
    assert equal.norm == pytest.approx(1000 * 3**0.5)


def test_callback_stops_and_its_error_surfaces():
    S = rows(20_000, 64)
    r = dprune.prune(S, m=6000, sweeps=10**8, callback=lambda p: p.seconds > 0.3)
    assert r.status == "stopped"
    assert r.norm < 0.5 * r.random_norm
    with pytest.raises(ZeroDivisionError):
        dprune.prune(S, m=6000, sweeps=10**8, callback=lambda p: 1 / 0)


def test_time_limit_cuts():
    S = rows(20_000, 64)
    start = time.perf_counter()
    r = dprune.prune(S, m=6000, sweeps=10**8, time_limit=0.5)
    assert r.status == "time_limit"
    assert r.norm < 0.2 * r.random_norm
    assert time.perf_counter() - start < 10


def test_short_limits():
    S = rows(2000, 510)
    plain = dprune.prune(S, fraction=0.5, time_limit=0.005)
    assert plain.settings["solver"] == "anneal"  # no time for more
    short = dprune.prune(S, fraction=0.5, time_limit=0.1)
    assert short.settings["solver"] == "block"
    assert short.norm < 0.2 * short.random_norm  # no time for the matrix of all rows
    assert dprune.prune(S, fraction=0.5, sweeps=2).settings["solver"] == "block"
