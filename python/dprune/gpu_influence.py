"""Influence rows on a CUDA device: twins of direct, iterative, sketch and kronecker.

Everything runs in float64, which data-centre GPUs multiply as fast as float32. Matrix products and
factorisations are torch's; the curvature of the softmax between two products is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch

from dprune.curvature import Hessian
from dprune.design import Design, with_bias
from dprune.gpu import softmax_curvature
from dprune.head import LastLayer
from dprune.influence_rows import InfluenceRows
from dprune.iterative import PCG_TOLERANCE
from dprune.kronecker import class_factors

# Numbers of the largest temporary, 2 GB of float64, and columns that one run of conjugate
# gradients carries side by side.
_NUMBERS = 1 << 28
_COLUMNS = 256
_MOST_ITERATIONS = 1000
# As in sketch.py.
_ITERATIONS = 2
_PROBES = 16
_SAMPLE = 32
_SKETCH_TOLERANCE = 1e-4


class DeviceHessian:
    """``H = (1/n) sum_i w_i (diag p_i - p_i p_i^T) (x) h_i h_i^T + lam I`` in contrasts.

    Vectors are rows here, (count, k (d + 1)).

    Parameters
    ----------
    head : LastLayer
        With softmax.
    device : torch.device
    """

    def __init__(self, head: LastLayer, device: torch.device) -> None:
        hessian = head.hessian
        assert isinstance(hessian, Hessian)  # squared loss has factored rows alone
        self.n = head.n
        self.shape = hessian.shape
        self.width = hessian.width
        self.weight_decay = head.weight_decay

        def placed(x: np.typing.NDArray[np.float64]) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(x)).to(device)

        self.x = torch.empty((head.n, self.shape[1]), dtype=torch.float64, device=device)
        for block, _ in Design(head.features).blocks():
            self.x[block] = placed(with_bias(head.features[block]))
        self.probabilities = placed(head.probabilities)
        self.weights = None if head.sample_weights is None else placed(head.sample_weights)
        self.contrasts = placed(hessian.contrasts)
        self.errors = placed(head.contrast_errors)
        self.class_factor = placed(hessian.class_factor)

    def blocks(self, columns: int) -> Iterator[slice]:
        """Samples in blocks whose (rows, ``columns``) temporaries stay small."""
        step = max(1, _NUMBERS // max(columns, self.shape[1]))
        for start in range(0, self.n, step):
            yield slice(start, min(start + step, self.n))

    def product(self, vectors: torch.Tensor) -> torch.Tensor:
        """``V H``, two matrix products over the features."""
        count, classes = len(vectors), len(self.contrasts)
        turned = (self.contrasts @ vectors.reshape(count, *self.shape)).reshape(-1, self.shape[1])
        out = torch.zeros_like(turned)
        for block in self.blocks(len(turned)):
            logits = self.x[block] @ turned.T
            weights = None if self.weights is None else self.weights[block]
            softmax_curvature(self.probabilities[block], weights, logits)
            out.addmm_(logits.T, self.x[block])
        back = self.contrasts.T @ out.reshape(count, classes, -1)
        return back.reshape(count, -1) / self.n + self.weight_decay * vectors

    def residuals(self, solution: torch.Tensor, rhs: torch.Tensor) -> torch.Tensor:
        """``||B - X H|| / ||B||`` of each row, zero where B is."""
        norms = rhs.norm(dim=1)
        error = (rhs - self.product(solution)).norm(dim=1)
        return torch.where(norms > 0, error / norms.clamp_min(1e-300), torch.zeros_like(norms))

    @cached_property
    def _preconditioner(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        weighted = self.x if self.weights is None else self.x * self.weights[:, None]
        alpha, a_vectors = torch.linalg.eigh(weighted.T @ self.x / self.n)
        beta, b_vectors = torch.linalg.eigh(self.class_factor)
        scale = torch.outer(beta, alpha).clamp_min(0.0) + self.weight_decay
        return a_vectors, b_vectors, 1.0 / scale

    def precondition(self, vectors: torch.Tensor) -> torch.Tensor:
        """``V (B (x) A + lam I)^-1`` with the Kronecker factors of ``curvature.Hessian``."""
        a_vectors, b_vectors, inverse = self._preconditioner
        turned = b_vectors.T @ (vectors.reshape(-1, *self.shape) @ a_vectors)
        return ((b_vectors @ (turned * inverse)) @ a_vectors.T).reshape(len(vectors), -1)

    def solve(self, rhs: torch.Tensor, tol: float) -> tuple[torch.Tensor, torch.Tensor, int]:
        """``B H^-1`` by preconditioned conjugate gradients: solution, residuals, iterations."""
        x = torch.zeros_like(rhs)
        iterations = 0
        for start in range(0, len(rhs), _COLUMNS):
            block = slice(start, start + _COLUMNS)
            x[block], steps = self._conjugate_gradients(rhs[block], tol)
            iterations = max(iterations, steps)
        found = [
            self.residuals(x[start : start + _COLUMNS], rhs[start : start + _COLUMNS])
            for start in range(0, len(rhs), _COLUMNS)
        ]
        return x, torch.cat(found), iterations

    def _conjugate_gradients(self, rhs: torch.Tensor, tol: float) -> tuple[torch.Tensor, int]:
        x = torch.zeros_like(rhs)
        goal = tol * rhs.norm(dim=1)
        active = torch.nonzero(goal > 0.0).ravel()
        r, goal, current = rhs[active].clone(), goal[active], x[active]
        p = torch.zeros_like(r)
        rz = torch.ones_like(goal)
        iterations = 0
        while len(active) > 0 and iterations < _MOST_ITERATIONS:
            z = self.precondition(r)
            rz_new = (r * z).sum(dim=1)
            p = z + (rz_new / rz)[:, None] * p
            rz = rz_new
            hp = self.product(p)
            alpha = (rz / (p * hp).sum(dim=1))[:, None]
            current += alpha * p
            r -= alpha * hp
            iterations += 1
            left = r.norm(dim=1) > goal
            if not bool(left.all()):
                x[active[~left]] = current[~left]
                active, r, goal, current, p, rz = (
                    part[left] for part in (active, r, goal, current, p, rz)
                )
        x[active] = current
        return x, iterations

    def dense(self) -> torch.Tensor:
        """``H`` as a matrix, (width, width)."""
        k, width = self.shape
        q = self.contrasts
        matrix = torch.zeros((k, width, k, width), dtype=torch.float64, device=self.x.device)
        for block in self.blocks(width):
            x, p = self.x[block], self.probabilities[block]
            pq = p @ q
            for a in range(k):
                for b in range(a + 1):
                    curvature = p @ (q[:, a] * q[:, b]) - pq[:, a] * pq[:, b]
                    if self.weights is not None:
                        curvature = curvature * self.weights[block]
                    matrix[a, :, b, :] += (x * curvature[:, None]).T @ x
        for a in range(k):
            for b in range(a):
                matrix[b, :, a, :] = matrix[a, :, b, :].T
        out = matrix.reshape(self.width, self.width)
        out /= self.n
        out.diagonal().add_(self.weight_decay)
        return out

    def gradients(self, samples: slice | torch.Tensor) -> torch.Tensor:
        """``g_i`` of some samples."""
        g = self.errors[samples][:, :, None] * self.x[samples][:, None, :]
        return g.reshape(len(g), -1)

    def gradient_sum(self, weights: torch.Tensor) -> torch.Tensor:
        """``sum_i w_ic g_i`` for weights (n, count), no g_i formed: (count, width)."""
        count = weights.shape[1]
        k, width = self.shape
        total = torch.zeros((count * k, width), dtype=torch.float64, device=self.x.device)
        for block in self.blocks(len(total)):
            scaled = weights[block][:, :, None] * self.errors[block][:, None, :]
            total.addmm_(scaled.reshape(len(scaled), -1).T, self.x[block])
        return total.reshape(count, -1)

    def gradient_product(self, vectors: torch.Tensor) -> torch.Tensor:
        """``<g_i, v_c>`` for vectors (count, width): (n, count)."""
        turned = vectors.reshape(-1, self.shape[1])
        out = torch.empty((self.n, len(vectors)), dtype=torch.float64, device=self.x.device)
        for block in self.blocks(len(turned)):
            logits = (self.x[block] @ turned.T).reshape(-1, len(vectors), self.shape[0])
            out[block] = (logits @ self.errors[block][:, :, None])[:, :, 0]
        return out


class CholeskyInverse:
    """``H^-1`` from a factor; residuals are those of 32 rows."""

    def __init__(self, hessian: DeviceHessian) -> None:
        self._hessian = hessian
        try:
            self._factor = torch.linalg.cholesky(hessian.dense())
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            raise ValueError(
                "the Hessian is singular to working precision: raise weight_decay"
            ) from None

    def guess(self, rhs: torch.Tensor) -> torch.Tensor:
        """``B H^-1`` for vectors that are rows."""
        return torch.cholesky_solve(rhs.T, self._factor).T

    def solve(self, rhs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Solution, residuals of some, 0 iterations."""
        x = self.guess(rhs)
        sample = _spread(len(rhs), rhs.device)
        return x, self._hessian.residuals(x[sample], rhs[sample]), 0


class IterativeInverse:
    """``H^-1`` by conjugate gradients, guessed by their preconditioner."""

    def __init__(self, hessian: DeviceHessian, tol: float) -> None:
        self._hessian = hessian
        self._tol = tol

    def guess(self, rhs: torch.Tensor) -> torch.Tensor:
        """``B`` times the Kronecker-factored inverse."""
        return self._hessian.precondition(rhs)

    def solve(self, rhs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Solution, residuals, iterations."""
        return self._hessian.solve(rhs, self._tol)


def device_influence(
    head: LastLayer,
    method: str,
    rank: int | None = None,
    *,
    reason: str = "asked for",
    dtype: str = "float32",
    out: Any = None,
    device: str = "cuda",
) -> InfluenceRows:
    """``S_i = (1/n) H^-1 g_i`` as tensors on the device; see :func:`dprune.influence`.

    ``method`` is dense, pcg or kfac.
    """
    place = torch.device(device)
    if method == "kfac":
        factors = _factors(head, place)
        approximate = head.criterion != "squared"
        return InfluenceRows(None, head, np.empty(0), approximate, method, reason, factors=factors)
    shape = (head.n, head.hessian.width if rank is None else rank)
    rows = _target(out, shape, dtype, place)
    hessian = DeviceHessian(head, place)
    inverse: CholeskyInverse | IterativeInverse
    if method == "dense":
        inverse = CholeskyInverse(hessian)
    else:
        inverse = IterativeInverse(hessian, PCG_TOLERANCE if rank is None else _SKETCH_TOLERANCE)
    if rank is not None:
        return _sketch(head, hessian, inverse, rows, method, reason)
    residuals = []
    iterations = 0
    step = _COLUMNS if method == "pcg" else max(1, _NUMBERS // hessian.width)
    for start in range(0, head.n, step):
        block = slice(start, min(start + step, head.n))
        rhs = hessian.gradients(block) / head.n
        solution, found, steps = inverse.solve(rhs)
        rows[block] = solution
        residuals.append(found)
        iterations = max(iterations, steps)
    return InfluenceRows(
        rows,
        head,
        torch.cat(residuals).cpu().numpy(),
        False,
        method,
        reason,
        iterations,
    )


def _target(out: Any, shape: tuple[int, int], dtype: str, device: torch.device) -> torch.Tensor:
    """Where the rows go: ``out``, checked, or a new tensor."""
    kind = getattr(torch, dtype)
    if out is None:
        return torch.empty(shape, dtype=kind, device=device)
    if not isinstance(out, torch.Tensor) or out.device.type != device.type:
        found = out.device if isinstance(out, torch.Tensor) else type(out).__name__
        raise TypeError(f"out must be a tensor on a CUDA device for device='cuda', found {found}")
    if tuple(out.shape) != shape or out.dtype != kind:
        raise ValueError(
            f"out must be {kind} of shape {shape}, found {out.dtype} {tuple(out.shape)}"
        )
    if not out.is_contiguous():
        raise TypeError(f"out must be contiguous, found strides {out.stride()}")
    return out


def _factors(head: LastLayer, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Factored rows: the n products by a (d + 1, d + 1) inverse are the device's."""
    b, inverse = class_factors(head)
    turn = torch.from_numpy(inverse).to(device)
    a = torch.empty(head.design.shape, dtype=torch.float32, device=device)
    for block, x in head.design.blocks():
        a[block] = torch.from_numpy(x).to(device) @ turn
    return torch.from_numpy(b).to(device, torch.float32).contiguous(), a


def _sketch(
    head: LastLayer,
    hessian: DeviceHessian,
    inverse: CholeskyInverse | IterativeInverse,
    rows: torch.Tensor,
    method: str,
    reason: str,
) -> InfluenceRows:
    """``S P`` for as many leading directions P as there are columns, as in ``sketch.py``."""
    rank = rows.shape[1]
    device = hessian.x.device
    random = torch.Generator(device=device).manual_seed(0)
    like: dict[str, Any] = {"dtype": torch.float64, "device": device, "generator": random}
    basis = torch.randn((rank, hessian.width), **like)
    for _ in range(_ITERATIONS):
        seen = hessian.gradient_product(inverse.guess(basis))
        basis = torch.linalg.qr(inverse.guess(hessian.gradient_sum(seen)).T)[0].T
    probes = torch.randint(0, 2, (head.n, _PROBES), **like) * 2.0 - 1.0
    solution, residuals, iterations = inverse.solve(
        torch.cat([basis, hessian.gradient_sum(probes)])
    )
    projected = hessian.gradient_product(solution[:rank]) / head.n
    images = solution[rank:] / head.n
    outside = images - (images @ basis.T) @ basis
    lost = float((outside**2).sum()) / _PROBES
    captured, turn = torch.linalg.eigh(projected.T @ projected)
    turn = turn.flip(1)
    rows[:] = projected @ turn
    return InfluenceRows(
        rows,
        head,
        residuals.cpu().numpy(),
        True,
        method,
        reason,
        iterations,
        basis=(turn.T @ basis).T.float().cpu().numpy(),
        left_out=lost / (lost + float(captured.sum())),
    )


def _spread(count: int, device: torch.device) -> torch.Tensor:
    sample = np.unique(np.linspace(0, count - 1, _SAMPLE).astype(np.int64))
    return torch.from_numpy(sample).to(device)
