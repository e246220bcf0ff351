"""The Hessian of the head loss: products, preconditioner, solves, dense form.

Softmax Hessians have d + 1 exact zero modes besides the weight decay (adding a constant to all
logits), and every gradient is orthogonal to them. Everything here therefore lives in C - 1
orthonormal (Helmert) contrasts of the classes, which keep all norms: a parameter block
``theta`` (C, d + 1) is ``Q t`` with ``t`` (C - 1, d + 1) and ``Q^T Q = I``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

Float64 = npt.NDArray[np.float64]

# Rows per block when per-sample matrices are formed: keeps temporaries in the tens of megabytes.
_BLOCK = 4096


def contrasts(classes: int) -> Float64:
    """Orthonormal Helmert contrasts, shape (C, C - 1): ``Q^T Q = I``, ``Q^T 1 = 0``."""
    return np.ascontiguousarray(scipy.linalg.helmert(classes).T, dtype=np.float64)


def with_bias(features: npt.NDArray[Any]) -> Float64:
    """``[features, 1]`` in float64, shape (n, d + 1)."""
    design = np.empty((features.shape[0], features.shape[1] + 1), dtype=np.float64)
    design[:, :-1] = features
    design[:, -1] = 1.0
    return design


@dataclass(frozen=True)
class Solve:
    """What a preconditioned conjugate-gradient run found."""

    solution: Float64  # (width, k)
    residuals: Float64  # (k,), ||B - H X|| / ||B||, recomputed from the solution
    iterations: int


class Hessian:
    """``H = (1/n) sum_i (diag p_i - p_i p_i^T) (x) h_i h_i^T + lam I`` in contrasts.

    Parameters
    ----------
    design : (n, d + 1) float64
        ``h_i = [features_i, 1]``.
    probabilities : (n, C) float64
        Softmax probabilities ``p_i``.
    weight_decay : float
        ``lam``.
    """

    def __init__(self, design: Float64, probabilities: Float64, weight_decay: float) -> None:
        self.design = design
        self.probabilities = probabilities
        self.weight_decay = weight_decay
        self.contrasts = contrasts(probabilities.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """(C - 1, d + 1): one parameter block in contrasts."""
        return self.probabilities.shape[1] - 1, self.design.shape[1]

    @property
    def width(self) -> int:
        """Number of parameters, ``(C - 1)(d + 1)``."""
        return self.shape[0] * self.shape[1]

    def product(self, vectors: Float64) -> Float64:
        """``H V`` for a block of vectors, (width, k), in ``4 n d C k`` operations."""
        count = vectors.shape[1]
        k, width = self.shape
        n = len(self.design)
        # logits of every vector: X (Q V)^T, one product for the whole block
        blocks = vectors.T.reshape(count, k, width)
        logits = self.design @ blocks.reshape(count * k, width).T
        logits = logits.reshape(n, count, k) @ self.contrasts.T
        p = self.probabilities[:, None, :]
        logits *= p
        logits -= p * logits.sum(axis=2, keepdims=True)
        errors = (logits @ self.contrasts).reshape(n, count * k)
        out = (errors.T @ self.design).reshape(count, self.width).T / n
        return np.asarray(out + self.weight_decay * vectors)

    @cached_property
    def _preconditioner(self) -> tuple[Float64, Float64, Float64]:
        """Eigenbases of the Kronecker factors and ``1 / (beta alpha + lam)``."""
        n = len(self.design)
        p = self.probabilities
        a = self.design.T @ self.design / n
        b = self.contrasts.T @ (np.diag(p.mean(axis=0)) - p.T @ p / n) @ self.contrasts
        alpha, a_vectors = np.linalg.eigh(a)
        beta, b_vectors = np.linalg.eigh(b)
        scale = np.maximum(np.outer(beta, alpha), 0.0) + self.weight_decay
        return a_vectors, b_vectors, 1.0 / scale

    def precondition(self, vectors: Float64) -> Float64:
        """``(B (x) A + lam I)^-1 V``, A = E[h h^T], B = Q^T E[diag p - p p^T] Q."""
        a_vectors, b_vectors, inverse = self._preconditioner
        blocks = vectors.T.reshape(-1, *self.shape)
        turned = (b_vectors.T @ blocks @ a_vectors) * inverse
        return np.asarray((b_vectors @ turned @ a_vectors.T).reshape(-1, self.width).T)

    def solve(self, rhs: Float64, *, tol: float = 1e-10, max_iterations: int = 1000) -> Solve:
        """``H^-1 B`` by preconditioned conjugate gradients, column by column side by side.

        Parameters
        ----------
        rhs : (width, k) float64
        tol : float
            Relative residual at which a column is done.
        max_iterations : int
            Where to give up; the residuals say how far it came.
        """
        x = np.zeros_like(rhs)
        r = rhs.copy()
        norms = np.linalg.norm(rhs, axis=0)
        goal = tol * norms
        z = self.precondition(r)
        p = z.copy()
        rz = np.einsum("ij,ij->j", r, z)
        iterations = 0
        active = np.flatnonzero(norms > goal)
        while active.size and iterations < max_iterations:
            hp = self.product(p[:, active])
            alpha = rz[active] / np.einsum("ij,ij->j", p[:, active], hp)
            x[:, active] += alpha * p[:, active]
            r[:, active] -= alpha * hp
            z = self.precondition(r[:, active])
            rz_new = np.einsum("ij,ij->j", r[:, active], z)
            p[:, active] = z + (rz_new / rz[active]) * p[:, active]
            rz[active] = rz_new
            iterations += 1
            active = active[np.linalg.norm(r[:, active], axis=0) > goal[active]]
        true = np.linalg.norm(rhs - self.product(x), axis=0)
        residuals = np.divide(true, norms, out=np.zeros_like(true), where=norms > 0)
        return Solve(x, residuals, iterations)

    def dense(self) -> Float64:
        """``H`` as a matrix, (width, width) float64, assembled block by block of samples."""
        k, width = self.shape
        n = len(self.design)
        out = np.zeros((k, width, k, width))
        for start in range(0, n, _BLOCK):
            x = self.design[start : start + _BLOCK]
            p = self.probabilities[start : start + _BLOCK]
            pq = p @ self.contrasts
            for a in range(k):
                for b in range(a + 1):
                    weight = p @ (self.contrasts[:, a] * self.contrasts[:, b]) - pq[:, a] * pq[:, b]
                    out[a, :, b, :] += (x * weight[:, None]).T @ x
        for a in range(k):
            for b in range(a):
                out[b, :, a, :] = out[a, :, b, :].T
        matrix = out.reshape(self.width, self.width) / n
        matrix[np.diag_indices(self.width)] += self.weight_decay
        return matrix
