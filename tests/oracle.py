"""Slow and plain versions of what the library computes, written independently of it."""

from __future__ import annotations

import itertools
import math

import numpy as np


def all_masks(n: int) -> np.ndarray:
    """Every subset of n samples, (2^n, n) float64 of 0 and 1."""
    return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.float64)


def change(S: np.ndarray, masks: np.ndarray, reweight: float) -> np.ndarray:
    """change_c of each mask, float64; infinite where it is not defined."""
    S = np.asarray(S, dtype=np.float64)
    n = len(S)
    m = masks.sum(axis=1)
    norm = np.linalg.norm(masks @ (S - reweight * S.mean(axis=0)), axis=1)
    share = 1.0 - reweight * m / n
    return np.divide(norm, share, out=np.full(len(masks), np.inf), where=share > 0)


def kept_quotas(sizes: list[int], floors: list[int], kept: int) -> list[int]:
    """Largest remainder of sizes kept / n, raised to the floors, the rest shared out again."""
    fixed: dict[int, int] = {}
    while True:
        rest = kept - sum(fixed.values())
        open_groups = [g for g in range(len(sizes)) if g not in fixed]
        total = sum(sizes[g] for g in open_groups)
        counts = dict(fixed)
        if total:
            exact = {g: sizes[g] * rest / total for g in open_groups}
            counts.update({g: sizes[g] * rest // total for g in open_groups})
            left = kept - sum(counts.values())
            order = sorted(open_groups, key=lambda g: (-(sizes[g] * rest % total), g))
            for g in order[:left]:
                counts[g] += 1
            assert all(abs(counts[g] - exact[g]) < 1 for g in open_groups)
        low = [g for g in open_groups if counts[g] < floors[g]]
        if not low:
            return [counts[g] for g in range(len(sizes))]
        fixed.update({g: floors[g] for g in low})


def feasible(
    masks: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    balance: str | None = None,
    min_keep: int = 0,
    protect: np.ndarray | None = None,
) -> np.ndarray:
    """Which masks respect quotas, floors and protection."""
    n = masks.shape[1]
    ok = np.ones(len(masks), dtype=bool)
    protect = np.zeros(n, dtype=bool) if protect is None else protect
    ok &= (masks[:, protect] == 0).all(axis=1)
    if groups is None:
        return ok
    names = np.unique(groups)
    sizes = [int((groups == g).sum()) for g in names]
    floors = [
        min(size, max(min_keep, int(protect[groups == g].sum())))
        for g, size in zip(names, sizes, strict=True)
    ]
    removed = np.stack([masks[:, groups == g].sum(axis=1) for g in names], axis=1)
    for k in range(len(names)):
        ok &= sizes[k] - removed[:, k] >= floors[k]
    if balance == "proportional":
        for m in range(n + 1):
            if n - m < sum(floors):
                continue
            rows = masks.sum(axis=1) == m
            quota = np.array(sizes) - kept_quotas(sizes, floors, n - m)
            ok[rows] &= (removed[rows] == quota).all(axis=1)
    return ok


def best_of_size(S: np.ndarray, m: int, reweight: float, **rules: object) -> float:
    """Eq. 4 by enumeration: the smallest change_c."""
    masks = all_masks(len(S))
    masks = masks[feasible(masks, **rules) & (masks.sum(axis=1) == m)]
    return float(change(S, masks, reweight).min())


def most_within(S: np.ndarray, eps: float, reweight: float, **rules: object) -> int:
    """Eq. 3 by enumeration: the largest count with change_c <= eps, never everything."""
    n = len(S)
    masks = all_masks(n)
    masks = masks[feasible(masks, **rules) & (masks.sum(axis=1) < n)]
    return int(masks[change(S, masks, reweight) <= eps].sum(axis=1).max())


def random_mean_square(S: np.ndarray, m: int, reweight: float, **rules: object) -> float:
    """Root mean square of change_c over all allowed subsets of m."""
    masks = all_masks(len(S))
    masks = masks[feasible(masks, **rules) & (masks.sum(axis=1) == m)]
    return math.sqrt(np.mean(change(S, masks, reweight) ** 2))


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def softmax_errors(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """p - y, without cancellation where p is near y."""
    errors = softmax(logits)
    rows = np.arange(len(labels))
    errors[rows, labels] = 0.0
    errors[rows, labels] = -errors.sum(axis=1)
    return errors


def influence_rows(
    features: np.ndarray, labels: np.ndarray, theta: np.ndarray, weight_decay: float
) -> np.ndarray:
    """(1/n) H^-1 g_i in all C (d + 1) parameters, the Hessian summed entry by entry."""
    n = len(features)
    classes = len(theta)
    h = np.hstack([np.asarray(features, dtype=np.float64), np.ones((n, 1))])
    errors = softmax_errors(h @ theta.T, labels)
    p = errors + np.eye(classes)[labels]
    width = h.shape[1]
    H = np.zeros((classes * width, classes * width))
    for a, b in itertools.product(range(classes), repeat=2):
        weight = p[:, a] * ((a == b) - p[:, b])
        block = np.einsum("n,ni,nj->ij", weight, h, h, optimize=True) / n
        H[a * width : (a + 1) * width, b * width : (b + 1) * width] = block
    H += weight_decay * np.eye(len(H))
    g = np.einsum("nc,nj->ncj", errors, h).reshape(n, -1)
    return np.linalg.solve(H, g.T).T / n


def to_bfloat16(x):
    """Nearest bfloat16 numbers, ties to even: their bits, and their values in float32."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    upper = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return upper, (upper.astype(np.uint32) << 16).view(np.float32)
