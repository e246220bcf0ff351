"""Choosing `reweight` by retraining on candidates' kept sets. Test data is never seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune._checks import integer_vector
from dprune.solve import prune
from dprune.sources import take_rows

Indices = npt.NDArray[np.int64]
Train = Callable[[Indices, Indices], float]


@dataclass(frozen=True)
class ReweightChoice:
    """Which `reweight` retrained best.

    Attributes
    ----------
    reweight : float
        The candidate with the highest mean score; ties go to the smaller.
    scores : dict
        Mean score of each candidate over the hold-outs.
    by_holdout : dict
        Scores of each candidate, hold-out by hold-out.
    validation : (v,) int64
        The training samples that scored the candidates: all hold-outs together.
    """

    reweight: float
    scores: dict[float, float]
    by_holdout: dict[float, tuple[float, ...]]
    validation: Indices


def choose_reweight(
    S: Any,
    labels: npt.ArrayLike,
    m: int,
    train: Train,
    candidates: Sequence[float] = (0.0, 0.5, 1.0),
    validation: float = 0.1,
    seed: int = 0,
    *,
    holdouts: int = 3,
    holdout_groups: npt.ArrayLike | None = None,
    **prune_settings: Any,
) -> ReweightChoice:
    """Choose c for removing ``m`` samples by retraining on what each candidate would keep.

    A stratified part of the training data is held out. From the rest, each candidate removes the
    same share as ``m`` of n, with proportional class quotas; ``train`` fits a model to what is
    kept and scores it on the part held out. This is done with several disjoint parts, as in
    cross-validation: one small part judges one kept set too noisily. The removed samples would be
    a biased judge: easy under c = 0, hard under c = 1.

    Parameters
    ----------
    S : (n, N) array, InfluenceRows or FactoredRows
    labels : (n,) int
        Classes: strata of the hold-outs, groups of the quotas.
    m : int
        How many are to be removed from all n.
    train : callable
        ``train(kept, validation) -> score``: indices into the training data, higher is better.
        Called ``holdouts * len(candidates)`` times. It should train as the final model will be,
        number of steps included.
    candidates : sequence of float, default (0, .5, 1)
    validation : float, default 0.1
        Share of the training data in one hold-out, in (0, 1).
    seed : int, default 0
    holdouts : int, default 3
        How many disjoint hold-outs; ``holdouts * validation`` is at most 1.
    holdout_groups : (n,) int, optional
        Samples that are held out together: those of one person, place or font. For a model that
        will meet new ones, hold-outs from among the same are too easy a judge, and of the wrong
        thing. Hold-outs are then whole groups, not stratified, and ``validation`` holds about.
    **prune_settings
        Passed on to :func:`dprune.prune`.
    """
    n = len(S)
    y = integer_vector(labels, n, "labels")
    if not 0.0 < validation < 1.0:
        raise ValueError(f"validation must lie in (0, 1), found {validation}")
    if holdouts < 1 or holdouts * validation > 1.0 + 1e-9:
        raise ValueError(
            f"holdouts must be at least 1 and at most 1 / validation = {1.0 / validation:g}, "
            f"found {holdouts}"
        )
    if len(candidates) == 0:
        raise ValueError("candidates must name at least one value, found none")
    rng = np.random.default_rng(seed)
    if holdout_groups is None:
        parts = _stratified_holdouts(y, validation, holdouts, rng)
    else:
        together = integer_vector(holdout_groups, n, "holdout_groups")
        parts = _grouped_holdouts(together, validation, holdouts, rng)
    scores: dict[float, list[float]] = {float(c): [] for c in sorted(candidates)}
    for held_out in parts:
        pool = np.setdiff1d(np.arange(n), held_out)
        part = take_rows(S, pool)
        for c, found in scores.items():
            result = prune(
                part,
                m=round(m * len(pool) / n),
                reweight=c,
                groups=y[pool],
                balance="proportional",
                seed=seed,
                **prune_settings,
            )
            found.append(float(train(pool[result.kept], held_out)))
    means = {c: float(np.mean(found)) for c, found in scores.items()}
    return ReweightChoice(
        max(means, key=lambda c: means[c]),
        means,
        {c: tuple(found) for c, found in scores.items()},
        np.sort(np.concatenate(parts)),
    )


def _stratified_holdouts(
    labels: Indices, share: float, count: int, rng: np.random.Generator
) -> list[Indices]:
    """Disjoint random parts, each with about the same share of every class."""
    parts: list[list[Indices]] = [[] for _ in range(count)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        ends = np.ceil(np.round(share * len(members) * np.arange(1, count + 1), 9)).astype(int)
        for part, piece in zip(parts, np.split(members, ends), strict=False):
            part.append(piece)
    found = [np.sort(np.concatenate(part)) for part in parts]
    if any(not len(part) for part in found):
        raise ValueError(
            f"validation must hold out at least one sample of {len(labels)} each of {count} times, "
            f"found {share}"
        )
    return found


def _grouped_holdouts(
    groups: Indices, share: float, count: int, rng: np.random.Generator
) -> list[Indices]:
    """Disjoint parts of whole groups in random order; a group is where its middle falls."""
    group_of = np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(group_of)
    order = rng.permutation(len(sizes))
    middles = np.empty(len(sizes))
    middles[order] = np.cumsum(sizes[order]) - 0.5 * sizes[order]
    part = np.floor(middles / (share * len(groups)))[group_of]
    found = [np.flatnonzero(part == k) for k in range(count)]
    if any(len(held_out) in (0, len(groups)) for held_out in found):
        raise ValueError(
            f"holdout_groups must be small beside validation = {share:g} of {len(groups)} samples, "
            f"found {len(sizes)} groups of up to {sizes.max()}"
        )
    return found
