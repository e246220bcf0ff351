"""The refit check: what a removal really does to the head, beside what was predicted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dprune._checks import class_labels, feature_matrix
from dprune.curvature import Solve
from dprune.head import LastLayer


@dataclass(frozen=True)
class RefitCheck:
    """Predicted and actual effect of leaving samples out of the head's training set.

    Attributes
    ----------
    change : float
        ``delta = ||theta_kept - theta||``, the head refitted on the mean loss of the kept samples
        (the paper's Definition 1).
    predicted : float
        ``change_1``, the first-order prediction of ``change``.
    newton : float
        Length of one Newton step towards the refitted head from ``theta``.
    random_change : float
        Mean of ``change`` over random subsets of the same size.
    residual : float
        Largest relative residual of the solves behind ``predicted`` and ``newton``.
    test_gap : float or None
        ``|L_test(theta_kept) - L_test(theta)|``.
    test_loss, test_loss_kept : float or None
        The two losses.
    first_order_bound : float or None
        ``||grad L_test|| delta``, Theorem 1's first-order value; the gap can exceed it.
    bound : float or None
        ``||grad L_test|| delta + s lambda_max(E[h h^T]) delta^2 / 2``, which the gap cannot exceed;
        the smoothness s is 1/2 for softmax and 1 for squared loss.
    """

    change: float
    predicted: float
    newton: float
    random_change: float
    residual: float
    test_gap: float | None = None
    test_loss: float | None = None
    test_loss_kept: float | None = None
    first_order_bound: float | None = None
    bound: float | None = None


def refit_check(
    head: LastLayer,
    kept: npt.ArrayLike,
    test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    *,
    draws: int = 3,
    seed: int = 0,
) -> RefitCheck:
    """Refit the head on the kept samples and compare with the predictions.

    Parameters
    ----------
    head : LastLayer
    kept : (k,) int
        Sample indices, ``result.kept``.
    test : (features, labels), optional
        Unseen data for the loss gap and its bounds (the paper's Theorem 1).
    draws : int, default 3
        Random subsets to compare with.
    seed : int, default 0
        Of those subsets.

    Raises
    ------
    ValueError
        If ``kept`` is empty, repeats an index or leaves 0..n-1.
    """
    indices = np.unique(np.asarray(kept))
    if indices.size == 0 or indices.size != np.size(kept) or indices.dtype.kind not in "iu":
        raise ValueError("kept must be distinct sample indices, at least one")
    if indices[0] < 0 or indices[-1] >= head.n:
        raise ValueError(f"kept must lie in 0..{head.n - 1}, found {indices[0]}..{indices[-1]}")
    removed = np.setdiff1d(np.arange(head.n), indices)
    predicted = head.change(removed)
    # The prediction is where the refit begins: one or two Newton steps remain.
    refitted = head.subset(indices, start=head.theta + predicted.theta)
    delta = float(np.linalg.norm(refitted.theta - head.theta))
    rng = np.random.default_rng(seed)
    random_changes = [
        float(np.linalg.norm(head.subset(draw).theta - head.theta))
        for draw in (rng.choice(head.n, indices.size, replace=False) for _ in range(draws))
    ]
    newton = _newton_step(head, indices)
    common = {
        "change": delta,
        "predicted": predicted.norm,
        "newton": float(np.linalg.norm(newton.solution)),
        "residual": max(predicted.residual, float(newton.residuals[0])),
        "random_change": float(np.mean(random_changes)) if random_changes else float("nan"),
    }
    if test is None:
        return RefitCheck(**common)

    x = feature_matrix(test[0])
    y = class_labels(test[1], len(x), head.classes)
    unseen = replace(head, features=x, labels=y, sample_weights=None)
    before, after = head.loss(x, y), refitted.loss(x, y)
    slope = float(np.linalg.norm(unseen.gradient_sum(np.ones(len(y))))) / len(y)
    # Hessians in the logits are at most 1/2 for softmax and 1 for squared loss.
    smoothness = 0.5 if head.criterion == "softmax" else 1.0
    curvature = smoothness * float(unseen.design.second_moment_eigh[0][-1])
    return RefitCheck(
        **common,
        test_gap=abs(after - before),
        test_loss=before,
        test_loss_kept=after,
        first_order_bound=slope * delta,
        bound=slope * delta + 0.5 * curvature * delta**2,
    )


def _newton_step(head: LastLayer, kept: npt.NDArray[np.int64]) -> Solve:
    """H_kept^-1 grad_kept(theta): gradient and Hessian of the kept samples' mean loss."""
    part = head.restricted(kept)
    return part.hessian.solve(part.gradient, tol=1e-9)
