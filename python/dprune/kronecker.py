"""Factored influence rows ``S_i ~= b_i (x) a_i``: n (C + d) numbers in place of n C d.

With ``B = Q^T E[w (diag p - p p^T)] Q`` and A the mean of ``h h^T`` weighted by each sample's
curvature ``s_i = w_i (1 - sum_c p_ic^2)``, the trace of its B, the Hessian is about
``B (x) A + lam I``, and has its trace. Split damping (Martens and Grosse, 2015) keeps the inverse a
Kronecker product, and so each row of rank one:

    pi^2 = (tr A / (d + 1)) / (tr B / (C - 1))
    a_i = (A + pi sqrt(lam) I)^-1 h_i        b_i = (B + sqrt(lam) / pi I)^-1 Q^T r_i / n

K-FAC leaves A unweighted. A well-fitted head has its curvature in few samples, and there the
weights bring the solver's answers about a tenth closer to those of exact rows. The rows are off by
a relative .4-1.3 all the same, the ranking of subsets by far less. For squared loss
``H = I (x) (A + lam I)`` with A weighted by w alone, and the rows are exact.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from dprune.curvature import Hessian
from dprune.design import Design, Float64
from dprune.head import LastLayer
from dprune.influence_rows import Float32


def factored_rows(head: LastLayer, *, leverage: bool) -> tuple[Float32, Float32]:
    """Class factors b (n, k) and feature factors a (n, d + 1)."""
    residuals, inverse = class_factors(head)
    a_rows = np.empty(head.design.shape, dtype=np.float32)
    for block, x in head.design.blocks():
        solved = x @ inverse
        if leverage:
            residuals[block] /= 1.0 - _self_leverage(head, block, solved, x)[:, None]
        a_rows[block] = solved
    return np.ascontiguousarray(residuals, dtype=np.float32), a_rows


def class_factors(head: LastLayer) -> tuple[Float64, Float64]:
    """All b_i, (n, k), and the matrix that turns h_i into a_i, (d + 1, d + 1)."""
    hessian = head.hessian
    residuals = head.contrast_errors / head.n
    if isinstance(hessian, Hessian):
        a = Design(head.features, _curvature_weights(hessian)).second_moment
        b = hessian.class_factor
        if head.sample_weights is not None:
            b = b * head.sample_weights.mean()
        pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(b) / len(b)))
        damping = np.sqrt(head.weight_decay)
        a = a + pi * damping * np.eye(len(a))
        b = b + damping / pi * np.eye(len(b))
        residuals = scipy.linalg.solve(b, residuals.T, assume_a="pos").T
    else:
        a = hessian.design.second_moment + head.weight_decay * np.eye(hessian.shape[1])
    return residuals, np.asarray(scipy.linalg.inv(a))


def _curvature_weights(hessian: Hessian) -> Float64:
    """``s_i`` over its mean."""
    curvature = 1.0 - np.sum(hessian.probabilities**2, axis=1)
    if hessian.design.weights is not None:
        curvature *= hessian.design.weights
    # A head that saturates everywhere leaves equal weights.
    curvature = np.maximum(curvature, np.finfo(np.float64).tiny)
    return np.asarray(curvature / curvature.mean())


def _self_leverage(head: LastLayer, block: slice, a: Float64, x: Float64) -> Float64:
    """``w_i h_i^T (A + lam I)^-1 h_i / n``: squared loss alone."""
    weights = 1.0 if head.sample_weights is None else head.sample_weights[block]
    return np.asarray(weights * np.einsum("nd,nd->n", a, x) / head.n)
