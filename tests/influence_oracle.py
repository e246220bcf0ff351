"""Float64 references for influence rows: everything dense, every class parameter, no structure."""

from __future__ import annotations

import numpy as np

import oracle
from conftest import load_scaled
from dprune.curvature import contrasts
from dprune.head import LastLayer


def data(name, count=None):
    X, y = load_scaled(name)
    return X[:count], y[:count]


def head(name, weight_decay=1e-2, count=None, **settings):
    X, y = data(name, count)
    return LastLayer.fit(X, y, weight_decay, **settings)


def sample_hessians(model):
    """w_i (diag p_i - p_i p_i^T), or w_i I: (n, C, C)."""
    w = np.ones(model.n) if model.sample_weights is None else model.sample_weights
    if model.criterion == "squared":
        return w[:, None, None] * np.eye(model.classes)
    p = probabilities(model)
    return w[:, None, None] * (p[:, :, None] * np.eye(model.classes) - p[:, :, None] * p[:, None])


def logits(model):
    X = np.column_stack([model.features.astype(np.float64), np.ones(model.n)])
    return X, X @ model.theta.T


def probabilities(model):
    return oracle.softmax(logits(model)[1])


def gradients(model):
    """g_i, (n, C (d + 1))."""
    X, z = logits(model)
    if model.criterion == "squared":
        out = z - np.eye(model.classes)[model.labels]
    else:
        out = oracle.softmax_errors(z, model.labels)
    if model.sample_weights is not None:
        out = out * model.sample_weights[:, None]
    return (out[:, :, None] * X[:, None, :]).reshape(model.n, -1)


def hessian(model):
    """H of the mean loss with weight decay, (C (d + 1), C (d + 1))."""
    X, _ = logits(model)
    H = np.einsum("nab,ni,nj->aibj", sample_hessians(model), X, X, optimize=True) / model.n
    H = H.reshape(model.theta.size, model.theta.size)
    return H + model.weight_decay * np.eye(len(H))


def rows(model):
    """S in all C (d + 1) parameters: solves with the full, singular-but-for-lam Hessian."""
    return np.linalg.solve(hessian(model), gradients(model).T).T / model.n


def in_contrasts(model, full):
    """Rows in all parameters as rows in the columns that dprune uses."""
    q = np.eye(model.classes) if model.criterion == "squared" else contrasts(model.classes)
    blocks = full.reshape(len(full), model.classes, -1)
    return np.einsum("ck,ncj->nkj", q, blocks).reshape(len(full), -1)


def relative_error(found, truth):
    """Largest relative error of a row."""
    gap = np.linalg.norm(np.asarray(found, dtype=np.float64) - truth, axis=1)
    return float(np.max(gap / np.linalg.norm(truth, axis=1)))


def leave_one_out_newton(model):
    """One Newton step without sample i, others at weight 1 / n: (H - H_i / n)^-1 g_i / n."""
    X, _ = logits(model)
    H, g, own = hessian(model), gradients(model), sample_hessians(model)
    out = np.empty_like(g)
    for i in range(model.n):
        Hi = np.einsum("ab,i,j->aibj", own[i], X[i], X[i]).reshape(H.shape)
        out[i] = np.linalg.solve(H - Hi / model.n, g[i]) / model.n
    return out
