"""Fitting the head: the minimiser of its loss on given features, and that loss."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.linalg

from dprune import _core
from dprune.curvature import Hessian, SquaredHessian, contrasts
from dprune.design import Design, Float64

_NEWTON_STEPS = 100
_GRADIENT_NORM = 1e-8


def output_errors(logits: Float64, labels: npt.NDArray[np.int64], criterion: str) -> Float64:
    """Gradient of l in the logits."""
    if criterion == "softmax":
        return np.asarray(_core.softmax_errors(logits, labels))
    errors = logits.copy()
    errors[np.arange(len(labels)), labels] -= 1.0
    return errors


def losses(logits: Float64, labels: npt.NDArray[np.int64], criterion: str) -> Float64:
    """``l`` of each sample."""
    if criterion == "squared":
        return np.asarray(0.5 * np.sum(output_errors(logits, labels, criterion) ** 2, axis=1))
    top = logits.max(axis=1)
    log_total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
    return np.asarray(log_total - logits[np.arange(len(labels)), labels])


def minimise_squared(
    design: Design, labels: npt.NDArray[np.int64], weight_decay: float, theta: Float64
) -> Float64:
    """Ridge regression on one-hot labels: ``(A + lam I) theta^T = X^T W Y / n``."""
    targets = np.zeros((len(labels), len(theta)))
    weights = 1.0 if design.weights is None else design.weights
    targets[np.arange(len(labels)), labels] = weights
    factor = SquaredHessian(design, len(theta), weight_decay).feature_cholesky
    return np.asarray(
        scipy.linalg.cho_solve(factor, design.adjoint_times(targets).T / len(labels)).T
    )


def minimise_softmax(
    design: Design, labels: npt.NDArray[np.int64], weight_decay: float, theta: Float64
) -> Float64:
    """Newton's method with inexact (conjugate-gradient) steps and backtracking.

    The minimiser lies in the contrasts, ``theta = Q t``: weight decay empties the other modes.
    """
    n = len(design)
    q = contrasts(len(theta))
    t = q.T @ theta

    def objective(logits: Float64, t: Float64) -> float:
        penalty = 0.5 * weight_decay * float(np.sum(t * t))
        each = losses(logits, labels, "softmax")
        return float(np.average(each, weights=design.weights)) * mean_weight + penalty

    mean_weight = 1.0 if design.weights is None else float(design.weights.mean())
    logits = design.times(q @ t)
    value = objective(logits, t)
    for _ in range(_NEWTON_STEPS):
        errors = _core.softmax_errors(logits, labels)
        weighted = errors if design.weights is None else errors * design.weights[:, None]
        gradient = q.T @ design.adjoint_times(weighted) / n + weight_decay * t
        norm = float(np.linalg.norm(gradient))
        if norm <= _GRADIENT_NORM:
            return np.asarray(q @ t)
        probabilities = errors
        probabilities[np.arange(n), labels] += 1.0
        hessian = Hessian(design, probabilities, weight_decay)
        step = hessian.solve(gradient.reshape(-1, 1), tol=min(0.1, norm)).solution.reshape(t.shape)
        slope = float(np.sum(step * gradient))
        # Logits are linear in theta: one pass over the features serves every step length.
        logits_step = design.times(q @ step)
        length = 1.0
        while True:
            new = objective(logits - length * logits_step, t - length * step)
            # The last term: near the minimum the decrease drowns in rounding.
            if new <= value - 1e-4 * length * slope + 1e-14 * abs(value) or length < 1e-10:
                break
            length *= 0.5
        t = t - length * step
        logits -= length * logits_step
        value = new
    raise RuntimeError(
        f"the head could not be refitted: gradient norm {norm:.2e} after {_NEWTON_STEPS} Newton "
        f"steps, expected {_GRADIENT_NORM:.0e}; raise weight_decay or rescale the features"
    )
