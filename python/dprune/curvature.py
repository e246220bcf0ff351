"""The Hessian of the head loss: products, preconditioner, solves, dense form.

Softmax Hessians have d + 1 exact zero modes besides the weight decay (adding a constant to all
logits), and every gradient is orthogonal to them. Everything here therefore lives in C - 1
orthonormal (Helmert) contrasts of the classes, which keep all norms: a parameter block
``theta`` (C, d + 1) is ``Q t`` with ``t`` (C - 1, d + 1) and ``Q^T Q = I``. Squared loss has no
such modes, and Q = I.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse.linalg

from dprune import _core
from dprune.assembly import softmax_hessian
from dprune.conjugate_gradients import block_conjugate_gradients
from dprune.design import Design, vector_parts
from dprune.design import Float64 as Float64

# Columns that one conjugate-gradient run carries: the more, the fewer steps.
_COLUMNS = 1024
# Least tolerance at which products run in float32, how often what they leave is solved for, and
# by how much a residual may exceed the tolerance: conjugate gradients meet it by their own count.
_SINGLE_TOLERANCE = 1e-5
_REFINEMENTS = 4
_SLACK = 1.05


def contrasts(classes: int) -> Float64:
    """Orthonormal Helmert contrasts, shape (C, C - 1): ``Q^T Q = I``, ``Q^T 1 = 0``."""
    return np.ascontiguousarray(scipy.linalg.helmert(classes).T, dtype=np.float64)


@dataclass(frozen=True)
class Solve:
    """What a solve with the Hessian found."""

    solution: Float64  # (width, k)
    residuals: Float64  # (k,), ||B - H X|| / ||B||, recomputed from the solution
    iterations: int


def _ratios(part: Float64, whole: Float64) -> Float64:
    """Norms of rows relative to others', zero where those are."""
    norms = np.linalg.norm(whole, axis=1)
    values = np.linalg.norm(part, axis=1)
    return np.asarray(np.divide(values, norms, out=np.zeros_like(values), where=norms > 0))


class Curvature(ABC):
    """A head Hessian in contrasts, ``(1/n) sum_i w_i B_i (x) h_i h_i^T + lam I``.

    Attributes
    ----------
    design : Design
        ``h_i = [features_i, 1]`` and the weights ``w_i``.
    weight_decay : float
        ``lam``.
    contrasts : (C, k) float64
        ``Q``.
    """

    def __init__(self, design: Design, weight_decay: float, contrasts: Float64) -> None:
        self.design = design
        self.weight_decay = weight_decay
        self.contrasts = contrasts

    @property
    def shape(self) -> tuple[int, int]:
        """(k, d + 1): one parameter block in contrasts."""
        return self.contrasts.shape[1], self.design.shape[1]

    @property
    def width(self) -> int:
        """Number of parameters, ``k (d + 1)``."""
        return self.shape[0] * self.shape[1]

    @abstractmethod
    def product(self, vectors: Float64) -> Float64:
        """``H V`` for a block of vectors, (width, columns) float64."""

    @abstractmethod
    def solve(self, rhs: Float64, *, tol: float = 1e-10, max_iterations: int = 1000) -> Solve:
        """``H^-1 B`` for a block of right-hand sides, (width, columns) float64."""

    @property
    @abstractmethod
    def largest_eigenvalue(self) -> float:
        """``lambda_max(H)``."""

    def residuals(self, solution: Float64, rhs: Float64) -> Float64:
        """``||B - H X|| / ||B||`` of each column, zero where B is."""
        return _ratios((rhs - self.product(solution)).T, rhs.T)


class Hessian(Curvature):
    """``H = (1/n) sum_i w_i (diag p_i - p_i p_i^T) (x) h_i h_i^T + lam I``: softmax.

    Parameters
    ----------
    design : Design
    probabilities : (n, C) float64, C-contiguous
        ``p_i``.
    weight_decay : float
    """

    def __init__(self, design: Design, probabilities: Float64, weight_decay: float) -> None:
        super().__init__(design, weight_decay, contrasts(probabilities.shape[1]))
        self.probabilities = probabilities
        self._threads = _core.hardware_threads()

    def product(self, vectors: Float64) -> Float64:
        """``H V`` in ``4 n d C columns`` operations, two matrix products over the features."""
        return self._products(np.ascontiguousarray(vectors.T)).T

    def _products(self, vectors: Float64, dtype: npt.DTypeLike = np.float64) -> Float64:
        """``V H``: the same for vectors that are rows.

        With float32 products run in it, sums over blocks of samples in float64.
        """
        count = len(vectors)
        k, width = self.shape
        n, classes = self.probabilities.shape
        probabilities = self.probabilities.astype(dtype, copy=False)
        weights = self.design.weights
        weights = None if weights is None else weights.astype(dtype, copy=False)
        # All classes rather than contrasts: no change of basis for each sample.
        blocks = (self.contrasts @ vectors.reshape(count, k, width)).astype(dtype, copy=False)
        out = np.zeros(blocks.shape)
        parts = list(vector_parts(count, classes))
        for block, x in self.design.blocks(parts[0].stop * classes, dtype):
            w = None if weights is None else weights[block]
            for part in parts:
                logits = x @ blocks[part].reshape(-1, width).T
                _core.softmax_curvature(probabilities[block], w, logits, self._threads)
                out[part] += (logits.T @ x).reshape(-1, classes, width)
        turned = self.contrasts.T @ out
        return np.asarray(turned.reshape(count, -1) / n + self.weight_decay * vectors)

    def curvatures(self, block: slice) -> Float64:
        """``w_i Q^T (diag p_i - p_i p_i^T) Q`` of some samples, (rows, k, k)."""
        q = self.contrasts
        p = self.probabilities[block]
        pq = p @ q
        out = np.einsum("nc,ca,cb->nab", p, q, q, optimize=True)
        out -= pq[:, :, None] * pq[:, None, :]
        if self.design.weights is not None:
            out *= self.design.weights[block, None, None]
        return np.asarray(out)

    @cached_property
    def class_factor(self) -> Float64:
        """``B = Q^T E[w (diag p - p p^T)] Q / E[w]``, (C - 1, C - 1)."""
        p = self.probabilities
        w = self.design.weights
        weighted = p if w is None else p * w[:, None]
        total = len(p) if w is None else w.sum()
        middle = np.diag(weighted.sum(axis=0)) - weighted.T @ p
        return np.asarray(self.contrasts.T @ middle @ self.contrasts / total)

    @cached_property
    def _preconditioner(self) -> tuple[Float64, Float64, Float64]:
        """Eigenbases of the Kronecker factors and ``1 / (beta alpha + lam)``."""
        alpha, a_vectors = self.design.second_moment_eigh
        beta, b_vectors = np.linalg.eigh(self.class_factor)
        scale = np.maximum(np.outer(beta, alpha), 0.0) + self.weight_decay
        return a_vectors, b_vectors, 1.0 / scale

    def precondition(self, vectors: Float64) -> Float64:
        """``(B (x) A + lam I)^-1 V``, A = E[w h h^T], B = ``class_factor``."""
        return self._preconditioned(np.ascontiguousarray(vectors.T)).T

    def _preconditioned(self, vectors: Float64) -> Float64:
        a_vectors, b_vectors, inverse = self._preconditioner
        k, width = self.shape
        turned = (vectors.reshape(-1, width) @ a_vectors).reshape(-1, k, width)
        scaled = b_vectors @ ((b_vectors.T @ turned) * inverse)
        return np.asarray((scaled.reshape(-1, width) @ a_vectors.T).reshape(-1, self.width))

    def solve(self, rhs: Float64, *, tol: float = 1e-10, max_iterations: int = 1000) -> Solve:
        """``H^-1 B`` by block conjugate gradients.

        Tolerances from 1e-5 on are met with products in float32. What they leave is measured in
        float64 and solved for again where it is too much.

        Parameters
        ----------
        rhs : (width, columns) float64
        tol : float
            Relative residual of every column.
        max_iterations : int
            Where to give up; the residuals say how far it came.
        """
        single = tol >= _SINGLE_TOLERANCE
        product = partial(self._products, dtype=np.float32 if single else np.float64)
        b = np.ascontiguousarray(rhs.T)
        x = np.zeros_like(b)
        residuals = np.empty(len(b))
        iterations = 0
        for part in np.array_split(np.arange(len(b)), -(-len(b) // _COLUMNS)):
            gap, worst, steps = b[part], 1.0, 0
            for _ in range(_REFINEMENTS if single else 1):
                found, more = block_conjugate_gradients(
                    product, self._preconditioned, gap, tol / worst, max_iterations - steps
                )
                x[part] += found
                steps += more
                gap = b[part] - self._products(x[part])
                residuals[part] = _ratios(gap, b[part])
                worst = residuals[part].max()
                if worst <= _SLACK * tol:
                    break
            iterations = max(iterations, steps)
        return Solve(x.T, residuals, iterations)

    def dense(self) -> Float64:
        """``H`` as a matrix, (width, width) float64, for problems that are small."""
        x = np.asarray(self.design)
        if self.design.weights is not None:
            x = x * np.sqrt(self.design.weights)[:, None]
        matrix = softmax_hessian(x, self.probabilities, self.contrasts)
        matrix[np.diag_indices(self.width)] += self.weight_decay
        return matrix

    @cached_property
    def largest_eigenvalue(self) -> float:
        """``lambda_max(H)`` by Lanczos iteration (ARPACK), from a fixed random vector."""
        operator = scipy.sparse.linalg.LinearOperator(
            (self.width, self.width),
            matvec=lambda v: self.product(v.reshape(-1, 1)).ravel(),
            dtype=np.float64,
        )
        start = np.random.default_rng(0).standard_normal(self.width)
        found = scipy.sparse.linalg.eigsh(
            operator, k=1, which="LA", tol=1e-4, v0=start, return_eigenvectors=False
        )
        return float(found[0])


class SquaredHessian(Curvature):
    """``H = I (x) (A + lam I)``, ``A = (1/n) sum_i w_i h_i h_i^T``: squared loss.

    Parameters
    ----------
    design : Design
    classes : int
    weight_decay : float
    """

    def __init__(self, design: Design, classes: int, weight_decay: float) -> None:
        super().__init__(design, weight_decay, np.eye(classes))

    def product(self, vectors: Float64) -> Float64:
        """``H V``."""
        blocks = vectors.T.reshape(-1, self.shape[1])
        out = blocks @ self.design.second_moment + self.weight_decay * blocks
        return np.asarray(out.reshape(-1, self.width).T)

    def solve(self, rhs: Float64, *, tol: float = 1e-10, max_iterations: int = 1000) -> Solve:
        """``H^-1 B``, directly: the tolerance is met by rounding alone."""
        blocks = rhs.T.reshape(-1, self.shape[1])
        x = np.asarray(scipy.linalg.cho_solve(self.feature_cholesky, blocks.T).T)
        x = x.reshape(-1, self.width).T
        return Solve(x, self.residuals(x, rhs), 0)

    @cached_property
    def feature_cholesky(self) -> tuple[Float64, bool]:
        """Cholesky factor of ``A + lam I``, as ``scipy.linalg.cho_solve`` takes it."""
        matrix = self.design.second_moment + self.weight_decay * np.eye(self.shape[1])
        factor, lower = scipy.linalg.cho_factor(matrix, lower=True)
        return factor, bool(lower)

    @property
    def largest_eigenvalue(self) -> float:
        """``lambda_max(H)``."""
        return float(self.design.second_moment_eigh[0][-1]) + self.weight_decay
