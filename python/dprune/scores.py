"""The baselines: one number a sample, larger is kept. :func:`prune_scores` makes a result of them.

Every function takes plain arrays; those that look at training also take what
:func:`dprune.train.fit` recorded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune import __version__, _core
from dprune._checks import class_labels, feature_matrix, integer_vector
from dprune.constraints import constraints, goal
from dprune.curvature import Float64
from dprune.influence_rows import InfluenceRows
from dprune.result import TRACE, PruneResult, Status
from dprune.solve import certificate, random_norm
from dprune.sources import source_of
from dprune.trajectory import Trajectory

Runs = Trajectory | Sequence[Trajectory]


def random(n: int, seed: int = 0) -> Float64:
    """A random order; with class quotas, the class-proportional random baseline."""
    return np.random.default_rng(seed).random(n)


def herding(features: npt.ArrayLike, labels: npt.ArrayLike, *, greedy: bool = False) -> Float64:
    """Samples near their class mean are kept.

    Parameters
    ----------
    features : (n, d) float
    labels : (n,) int
    greedy : bool, default False
        False, as in the paper: minus the distance to the class mean. True: one by one the sample
        that brings the *mean of the picked* nearest to the class mean (Welling 2009, as in iCaRL);
        the score is then minus the rank, as a share of the class.

    Notes
    -----
    The nearest are kept. An argmax over the distance, as found in published code, keeps the
    farthest.
    """
    h, y = _labelled(features, labels)
    score = np.empty(len(y))
    for members in _classes(y):
        part = h[members]
        mean = part.mean(axis=0)
        if greedy:
            score[members] = -_herding_ranks(part, mean) / len(members)
        else:
            score[members] = -np.linalg.norm(part - mean, axis=1)
    return score


def forgetting(runs: Runs | npt.ArrayLike) -> Float64:
    """Forgetting events (Toneva et al., 2019): often forgotten samples are kept.

    An event is a change from right to wrong between two epochs. A sample that was never right
    counts as forgotten in every epoch. Several runs are averaged.

    Parameters
    ----------
    runs : Trajectory, several of them, or (epochs, n) bool
        Whether each sample was classified right.
    """
    recorded = _trajectories(runs)
    if recorded is not None:
        histories = [run.correct for run in recorded]
    else:
        correct = np.asarray(runs)
        if correct.dtype != np.bool_ or correct.ndim != 2 or not len(correct):
            raise TypeError(
                "runs must be trajectories or a bool array of shape (epochs, n), found "
                f"{correct.dtype} {correct.shape}"
            )
        histories = [correct]
    return _mean([_forgetting_events(history) for history in histories])


def el2n(
    probabilities: Runs | npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
    *,
    epoch: int | None = None,
) -> Float64:
    """Error norm ``||p_i - y_i||`` early in training (Paul et al., 2021): large ones are kept.

    Parameters
    ----------
    probabilities : (n, C) or (runs, n, C) float, or trajectories
        Softmax outputs of one or several networks trained for a few epochs, averaged.
    labels : (n,) int
        With arrays only.
    epoch : int, optional
        With trajectories: after how many epochs; default their first snapshot.
    """
    runs = _trajectories(probabilities)
    if runs is not None:
        return _mean([run.error_norms[run.at(epoch)] for run in runs])
    return np.asarray(_error_norms(probabilities, labels).mean(axis=0))


def grand(
    probabilities: Runs | npt.ArrayLike,
    labels: npt.ArrayLike | None = None,
    features: npt.ArrayLike | None = None,
    *,
    epoch: int | None = None,
) -> Float64:
    """Gradient norm early in training (Paul et al., 2021), in the last layer: large ones are kept.

    ``||p_i - y_i|| ||[h_i, 1]||``, averaged over networks. For the gradient in all parameters see
    :func:`dprune.train.gradient_norms`; its values are a score as they are.

    Parameters
    ----------
    probabilities : (n, C) or (runs, n, C) float, or trajectories
    labels : (n,) int
        With arrays only.
    features : (n, d) or (runs, n, d) float
        Inputs of the last layer of the same networks; with arrays only.
    epoch : int, optional
        With trajectories: after how many epochs; default their first snapshot.
    """
    runs = _trajectories(probabilities)
    if runs is not None:
        return _mean([run.gradient_norms[run.at(epoch)] for run in runs])
    errors = _error_norms(probabilities, labels)
    if features is None:
        raise ValueError("features must be given with probabilities, found None")
    h = np.asarray(features, dtype=np.float64)
    h = h[None] if h.ndim == 2 else h
    if h.ndim != 3 or h.shape[:2] != errors.shape:
        raise ValueError(
            f"features must have shape {errors.shape} + (d,), found {np.shape(features)}"
        )
    return np.asarray((errors * np.sqrt((h**2).sum(axis=2) + 1.0)).mean(axis=0))


def influence_norm(S: Any) -> Float64:
    """Norm of each influence row ``||S_i||`` (the paper's "influence score"): large are kept."""
    return np.asarray(np.sqrt(source_of(S, _core.hardware_threads()).squared_norms))


def moderate(features: npt.ArrayLike, labels: npt.ArrayLike) -> Float64:
    """Moderate coreset (Xia et al., 2023): neither near the class mean nor far from it.

    Minus the gap between a sample's distance to its class mean and the class's median distance.
    """
    h, y = _labelled(features, labels)
    score = np.empty(len(y))
    for members in _classes(y):
        distance = np.linalg.norm(h[members] - h[members].mean(axis=0), axis=1)
        score[members] = -np.abs(distance - np.median(distance))
    return score


def ccs(
    difficulty: npt.ArrayLike, *, strata: int = 50, hard_cutoff: float = 0.0, seed: int = 0
) -> Float64:
    """Coverage-centric selection (Zheng et al., 2023): equal counts from strata of difficulty.

    The range of ``difficulty`` is cut into ``strata`` intervals of equal width; every interval
    gives as many samples as every other, or all it has. Written as a score: minus the place of a
    sample in a random order of its stratum. For any kept count the largest scores fill all strata
    to one level, which is that rule.

    Parameters
    ----------
    difficulty : (n,) float
        Another score, larger is harder: :func:`el2n`, :func:`forgetting`.
    strata : int, default 50
    hard_cutoff : float, default 0
        Share of the hardest samples (label errors, often) that go first; the method's beta. It
        must be below the share that is removed.
    seed : int, default 0
    """
    d = _scores(difficulty, "difficulty")
    if strata < 1:
        raise ValueError(f"strata must be at least 1, found {strata}")
    if not 0.0 <= hard_cutoff < 1.0:
        raise ValueError(f"hard_cutoff must lie in [0, 1), found {hard_cutoff}")
    n = len(d)
    rng = np.random.default_rng(seed)
    hardest = np.argsort(-d, kind="stable")[: round(hard_cutoff * n)]
    easier = np.setdiff1d(np.arange(n), hardest)
    edges = np.linspace(d[easier].min(), d[easier].max(), strata + 1)[1:-1]
    stratum = np.searchsorted(edges, d[easier], side="right")
    score = np.empty(n)
    score[hardest] = -float(n) - d[hardest].argsort().argsort()
    for s in np.unique(stratum):
        members = easier[stratum == s]
        score[rng.permutation(members)] = -np.arange(len(members), dtype=np.float64)
    return score


def prune_scores(
    scores: npt.ArrayLike,
    *,
    m: int | None = None,
    fraction: float | None = None,
    groups: npt.ArrayLike | None = None,
    balance: str | None = None,
    min_keep: int = 0,
    protect: npt.ArrayLike | None = None,
    seed: int = 0,
    rows: Any = None,
    reweight: float = 1.0,
) -> PruneResult:
    """Remove the m samples with the smallest scores.

    Parameters
    ----------
    scores : (n,) float
        Larger is kept. Equal scores are ordered at random.
    m, fraction
        How many to remove; exactly one of them.
    groups, balance, min_keep, protect
        As in :func:`dprune.prune`.
    seed : int, default 0
        Of the order among equal scores.
    rows : InfluenceRows or (n, N) array, optional
        With these the result carries the numbers that :func:`dprune.prune` would give for the same
        subset; without, its norms are NaN.
    reweight : float, default 1
        c of those norms.

    Returns
    -------
    PruneResult
        ``settings["solver"]`` is ``"scores"``.
    """
    start = time.perf_counter()
    values = _scores(scores, "scores")
    n = len(values)
    c = float(reweight)
    if not 0.0 <= c <= 1.0:
        raise ValueError(f"reweight must lie in [0, 1], found {reweight}")
    _, size = goal(None, m, fraction, n, c)
    assert size is not None
    rules = constraints(n, groups, balance, min_keep, protect)
    if size > rules.most_removable:
        raise ValueError(
            f"m must be at most {rules.most_removable} under min_keep={min_keep} and "
            f"{int(rules.protect.sum())} protected samples, found {size}"
        )
    limits = rules.removed_counts(size)
    order = np.lexsort((np.random.default_rng(seed).random(n), values))
    order = order[rules.protect[order] == 0]
    removed = np.sort(
        order[_place_in_group(rules.labels[order]) < limits[rules.labels[order]]][:size]
    )
    mask = np.zeros(n, dtype=np.uint8)
    mask[removed] = 1

    norm = raw_norm = by_chance = math.nan
    exact, fingerprint = None, ""
    if rows is not None:
        source = source_of(rows, _core.hardware_threads())
        if source.n != n:
            raise ValueError(f"rows must have {n} rows, one a score, found {source.n}")
        mean = source.group_sums(np.zeros(n, dtype=np.int64), 1)[0] / n
        norm, raw_norm = certificate(source, mask, mean, c)
        by_chance = random_norm(source, rules, mean, c, size)
        fingerprint = source.fingerprint()
        if isinstance(rows, InfluenceRows):
            exact = rows.head.change(removed, reweight=c)
    return PruneResult(
        n=n,
        removed=removed,
        kept=np.flatnonzero(mask == 0),
        norm=norm,
        raw_norm=raw_norm,
        random_norm=by_chance,
        upper_bound=size,
        exact_norm=None if exact is None else exact.norm,
        exact_norm_residual=None if exact is None else exact.residual,
        status=Status.TRIVIAL if size in (0, rules.most_removable) else Status.CONVERGED,
        trace=np.zeros(0, dtype=TRACE),
        seconds=time.perf_counter() - start,
        settings={
            "version": __version__,
            "eps": None,
            "m": size,
            "reweight": c,
            "groups": None if groups is None else len(rules.floors),
            "balance": balance,
            "min_keep": int(min_keep),
            "protected": int(rules.protect.sum()),
            "solver": "scores",
            "seed": seed,
        },
        fingerprint=fingerprint,
    )


def _mean(runs: Sequence[npt.NDArray[Any]]) -> Float64:
    return np.asarray(np.mean(runs, axis=0, dtype=np.float64))


def _forgetting_events(correct: npt.NDArray[np.bool_]) -> Float64:
    events: Float64 = np.sum(correct[:-1] & ~correct[1:], axis=0, dtype=np.float64)
    events[~correct.any(axis=0)] = len(correct)
    return events


def _herding_ranks(h: Float64, mean: Float64) -> Float64:
    """The step at which each row is picked: i_k = argmin ||mean - (sum of the picked + h_i) / k||.

    Squared and without what is the same for all i: ``||h_i||^2 / 2 - <k mean - sum, h_i>``.
    """
    ranks = np.empty(len(h))
    half_squares = 0.5 * (h**2).sum(axis=1)
    lead = np.zeros_like(mean)  # k mean - sum
    for step in range(len(h)):
        lead += mean
        pick = int(np.argmin(half_squares - h @ lead))
        ranks[pick] = step
        half_squares[pick] = np.inf
        lead -= h[pick]
    return ranks


def _place_in_group(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many earlier entries have the same label."""
    place = np.empty(len(labels), dtype=np.int64)
    for members in _classes(labels):
        place[members] = np.arange(len(members))
    return place


def _classes(labels: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Indices of each label's samples, in order."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _labelled(
    features: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[Float64, npt.NDArray[np.int64]]:
    h = feature_matrix(features).astype(np.float64)
    return h, integer_vector(labels, len(h), "labels")


def _trajectories(runs: Any) -> list[Trajectory] | None:
    if isinstance(runs, Trajectory):
        return [runs]
    if isinstance(runs, Sequence) and runs and all(isinstance(run, Trajectory) for run in runs):
        return list(runs)
    return None


def _error_norms(probabilities: Any, labels: npt.ArrayLike | None) -> Float64:
    """``||p_i - y_i||``, (runs, n)."""
    p = np.array(probabilities, dtype=np.float64)
    p = p[None] if p.ndim == 2 else p
    if p.ndim != 3:
        raise ValueError(
            f"probabilities must have shape (n, C) or (runs, n, C), found {np.shape(probabilities)}"
        )
    if labels is None:
        raise ValueError("labels must be given with probabilities, found None")
    y = class_labels(labels, p.shape[1], p.shape[2])
    if not (np.isfinite(p).all() and np.allclose(p.sum(axis=2), 1.0, atol=1e-3)):
        raise ValueError("probabilities must sum to one over the classes")
    p[:, np.arange(len(y)), y] -= 1.0
    return np.asarray(np.linalg.norm(p, axis=2))


def _scores(values: npt.ArrayLike, name: str) -> Float64:
    score = np.asarray(values)
    if score.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be real numbers, found {score.dtype}")
    if score.ndim != 1 or not score.size:
        raise ValueError(f"{name} must have shape (n,), found {score.shape}")
    if np.isnan(score).any():
        raise ValueError(f"{name} must not be NaN, found one at {int(np.isnan(score).argmax())}")
    return score.astype(np.float64)
