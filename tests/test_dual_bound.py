"""The upper bound of Eq. 3: never below the truth, and worth something where it can be."""

import numpy as np
import pytest

import dprune
import solver_oracle as oracle


@pytest.mark.parametrize("block", range(10))
def test_never_below_brute_force(block):
    told = 0
    for seed in range(50 * block, 50 * block + 50):
        rng = np.random.default_rng(seed)
        n, width = int(rng.integers(4, 11)), int(rng.integers(1, 4))
        S = (rng.standard_normal((n, width)) + rng.normal()).astype(np.float32)
        reweight = (0.0, 0.3, 0.7, 1.0)[seed % 4]
        labels = rng.integers(0, 2, n)
        protect = rng.random(n) < 0.15
        min_keep = int(rng.integers(0, 2))
        _, groups = np.unique(labels, return_inverse=True)
        sizes = np.bincount(groups)
        floors = np.minimum(
            sizes, np.maximum(min_keep, np.bincount(groups[protect], minlength=len(sizes)))
        )
        if (floors == sizes).all():
            continue
        eps = float(rng.uniform(0.05, 0.6) * np.linalg.norm(S.sum(axis=0)))
        r = dprune.prune(
            S, eps, reweight=reweight, groups=labels, min_keep=min_keep, protect=protect, sweeps=30
        )
        masks = oracle.all_masks(n)
        ok = oracle.allowed(masks, groups=groups, most_removed=sizes - floors, protect=protect)
        assert len(r.removed) <= oracle.most_removed(S, masks[ok], eps, reweight) <= r.upper_bound
        told += r.settings["upper_bound_kind"] == "dual"
    assert told > 0


def test_close_to_what_is_reached():
    rng = np.random.default_rng(0)
    S = rng.standard_normal((1000, 20)).astype(np.float32)
    S -= S.mean(axis=0)
    S[:, -1] += 1.0
    r = dprune.prune(S, 200.0, sweeps=4000)
    assert r.settings["upper_bound_kind"] == "dual"
    assert 0.98 * r.upper_bound <= len(r.removed) <= r.upper_bound < 900


def test_labelled_trivial():
    S = np.random.default_rng(0).standard_normal((200, 5)).astype(np.float32)
    r = dprune.prune(S, 1.0, reweight=1.0, sweeps=200)
    assert (r.upper_bound, r.settings["upper_bound_kind"]) == (199, "trivial")
