"""Exact answers to small problems, by enumeration: what the solvers are tested against."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.spatial import cKDTree


def all_masks(n):
    """(2^n, n) bool: every subset of n samples."""
    return (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1


def changes(S, masks, reweight):
    """change_c of every subset; the one that removes all is inf at c = 1."""
    S = np.asarray(S, dtype=np.float64)
    n = len(S)
    m = masks.sum(axis=1)
    u = masks @ S - reweight * np.outer(m, S.mean(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.linalg.norm(u, axis=1) / (1.0 - reweight * m / n)
    return np.where(m == n, np.inf if reweight == 1.0 else change, change)


def allowed(masks, m=None, groups=None, removed_counts=None, most_removed=None, protect=None):
    """Which subsets keep the rules: exact counts by group or caps by group, protection, size."""
    ok = np.ones(len(masks), dtype=bool)
    if m is not None:
        ok &= masks.sum(axis=1) == m
    if protect is not None:
        ok &= ~(masks & protect).any(axis=1)
    for g in np.unique(groups) if groups is not None else ():
        count = masks[:, groups == g].sum(axis=1)
        if removed_counts is not None:
            ok &= count == removed_counts[g]
        if most_removed is not None:
            ok &= count <= most_removed[g]
    return ok


def least_change(S, masks, reweight=0.0):
    """Eq. 4 by enumeration: the smallest change over these subsets."""
    return changes(S, masks, reweight).min()


def most_removed(S, masks, eps, reweight=0.0):
    """Eq. 3 by enumeration: the largest of these subsets within eps, never all samples."""
    size = masks.sum(axis=1)
    fits = (changes(S, masks, reweight) <= eps) & (size < masks.shape[1])
    return int(size[fits].max(initial=0))


def meet_in_the_middle(S, m):
    """min ||W^T S|| over subsets of m samples, exactly: nearest pairs of half sums."""
    S = np.asarray(S, dtype=np.float64)
    half = len(S) // 2
    sums = []
    for part in (S[:half], S[half:]):
        masks = all_masks(len(part))
        sums.append((masks.sum(axis=1), masks @ part))
    (size_a, sum_a), (size_b, sum_b) = sums
    best = np.inf
    for a, b in itertools.product(range(half + 1), range(len(S) - half + 1)):
        if a + b == m:
            queries, points = sum_a[size_a == a], -sum_b[size_b == b]
            if len(queries) > len(points):
                queries, points = points, queries
            distance, _ = cKDTree(points).query(queries, distance_upper_bound=best)
            best = min(best, distance.min())
    return best
