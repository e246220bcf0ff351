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

Train = Callable[[npt.NDArray[np.int64], npt.NDArray[np.int64]], float]


@dataclass(frozen=True)
class ReweightChoice:
    """Which `reweight` retrained best.

    Attributes
    ----------
    reweight : float
        The candidate with the highest score; ties go to the smaller.
    scores : dict
        Score of each candidate.
    validation : (v,) int64
        The training samples that were held out to score them.
    """

    reweight: float
    scores: dict[float, float]
    validation: npt.NDArray[np.int64]


def choose_reweight(
    S: Any,
    labels: npt.ArrayLike,
    m: int,
    train: Train,
    candidates: Sequence[float] = (0.0, 0.5, 1.0),
    validation: float = 0.1,
    seed: int = 0,
    **prune_settings: Any,
) -> ReweightChoice:
    """Choose c for removing ``m`` samples by retraining on what each candidate would keep.

    A stratified part of the training data is held out. From the rest, each candidate removes the
    same share as ``m`` of n, with proportional class quotas; ``train`` fits a model to what is
    kept and scores it on the part held out. The removed samples alone would be a biased judge:
    easy under c = 0, hard under c = 1.

    Parameters
    ----------
    S : (n, N) array, InfluenceRows or FactoredRows
    labels : (n,) int
        Classes: strata of the hold-out, groups of the quotas.
    m : int
        How many are to be removed from all n.
    train : callable
        ``train(kept, validation) -> score``: indices into the training data, higher is better.
    candidates : sequence of float, default (0, .5, 1)
    validation : float, default 0.1
        Share of the training data held out, in (0, 1).
    seed : int, default 0
    **prune_settings
        Passed on to :func:`dprune.prune`.
    """
    n = len(S)
    y = integer_vector(labels, n, "labels")
    if not 0.0 < validation < 1.0:
        raise ValueError(f"validation must lie in (0, 1), found {validation}")
    if len(candidates) == 0:
        raise ValueError("candidates must name at least one value, found none")
    held_out = _stratified(y, validation, np.random.default_rng(seed))
    pool = np.flatnonzero(~held_out)
    part = take_rows(S, pool)
    scores = {}
    for c in candidates:
        result = prune(
            part,
            m=round(m * len(pool) / n),
            reweight=c,
            groups=y[pool],
            balance="proportional",
            seed=seed,
            **prune_settings,
        )
        scores[float(c)] = float(train(pool[result.kept], np.flatnonzero(held_out)))
    best = max(sorted(scores), key=lambda c: scores[c])
    return ReweightChoice(best, scores, np.flatnonzero(held_out))


def _stratified(
    labels: npt.NDArray[np.int64], share: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """A random mask with about the same share of each class."""
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        mask[rng.permutation(members)[: round(share * len(members))]] = True
    return mask
