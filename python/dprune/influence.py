"""Influence rows: how much the last layer moves when a sample is left out (paper, Eq. 2)."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune._resume import open_output
from dprune.backend import check_device, is_cuda
from dprune.curvature import Hessian
from dprune.design import Float64
from dprune.direct import dense_rows, direct_solver
from dprune.head import LastLayer
from dprune.iterative import lissa_rows, pcg_rows
from dprune.kronecker import Float32, factored_rows
from dprune.sketch import DirectInverse, IterativeInverse, sketch_rows

_METHODS = ("auto", "dense", "pcg", "lissa", "kfac")
# Share of the free memory that a method may fill.
_MEMORY_SHARE = 0.7
# Operations that "auto" will spend on exact rows: about half an hour of two laptop cores.
_MOST_OPERATIONS = 2e14
# What "auto" expects of conjugate gradients.
_EXPECTED_ITERATIONS = 30
# Mean of 1 - sum_c p_c^2 below which the head counts as saturated.
_SATURATED = 1e-3
# Rows whose error is measured against conjugate gradients, and the operations that may cost.
_SAMPLE = 16
_MOST_SAMPLE_OPERATIONS = 2e12


@dataclass(frozen=True)
class InfluenceRows:
    """The matrix S, one row a sample, with the head it came from.

    Attributes
    ----------
    rows : (n, k (d + 1)) float32; (n, rank) for a sketch; a tensor where device="cuda" made them
        ``S_i = (1/n) H^-1 g_i`` in orthonormal class contrasts (x) [features, 1]; norms and inner
        products are those of the C (d + 1) parameters. k is C - 1, and C for squared loss.
        Factored rows have none: this raises ValueError.
    head : LastLayer
        Where they came from.
    residuals : float64 vector
        Relative residuals ``||H s - g|| / ||g||`` of the solves: ``pcg`` and ``lissa`` of each
        row, ``dense`` of 32 rows across the data set, empty for ``kfac``; a sketch's of
        its directions (``dense``: of 32 of them).
    approximate : bool
        True if the rows are not the exact ones up to rounding or the solves' tolerance.
    method : str
        ``dense``, ``pcg``, ``lissa`` or ``kfac``.
    reason : str
        Why this method.
    iterations : int
        Steps of an iterative method, else 0.
    error : float or None
        Largest measured relative error of a row: ``dense`` against float64 solves, ``lissa`` and
        ``kfac`` against conjugate gradients, on rows across the data set. None where not measured.
    factors : (b, a) or None
        Factored rows: ``S_i = b_i (x) a_i`` flattened with b's index slow; b (n, k) and
        a (n, d + 1) float32.
    basis : (k (d + 1), rank) float32 or None
        Of a sketch: orthonormal directions P, the rows being ``S P``.
    left_out : float or None
        Of a sketch: share of the rows' squared norms that lies outside P, an unbiased estimate.
    """

    dense: Any = field(repr=False)  # None where factored
    head: LastLayer = field(repr=False)
    residuals: Float64 = field(repr=False)
    approximate: bool = False
    method: str = "dense"
    reason: str = "asked for"
    iterations: int = 0
    error: float | None = None
    factors: tuple[Float32, Float32] | None = field(default=None, repr=False)
    basis: Float32 | None = field(default=None, repr=False)
    left_out: float | None = None

    @property
    def rows(self) -> Any:
        """The dense matrix."""
        if self.dense is None:
            raise ValueError("these rows are factored: use factors, or np.asarray for all of them")
        return self.dense

    @property
    def shape(self) -> tuple[int, int]:
        """(n, N)."""
        if self.dense is not None:
            return self.dense.shape[0], self.dense.shape[1]
        b, a = _pair(self)
        return len(b), b.shape[1] * a.shape[1]

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """float32."""
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if self.dense is not None:
            dense = self.dense.cpu().numpy() if is_cuda(self.dense) else self.dense
            return np.array(dense, dtype=dtype, copy=copy)
        b, a = _pair(self)
        return np.array((b[:, :, None] * a[:, None, :]).reshape(self.shape), dtype=dtype)

    def expand(self) -> Float32:
        """The rows in all C (d + 1) parameters, (n, C (d + 1)) float32: class by class."""
        q = self.head.hessian.contrasts.astype(np.float32)
        rows = np.asarray(self) if self.basis is None else np.asarray(self) @ self.basis.T
        blocks = rows.reshape(len(self), *self.head.hessian.shape)
        return np.asarray(np.einsum("ck,nkj->ncj", q, blocks, optimize=True).reshape(len(self), -1))


def influence(
    head: LastLayer,
    method: str = "auto",
    rank: int | None = None,
    out: npt.NDArray[np.float32] | str | os.PathLike[str] | None = None,
    *,
    leverage: bool = False,
    device: str | None = None,
) -> InfluenceRows:
    """Parameter influence of every sample on the head: ``S_i = (1/n) H^-1 g_i``.

    Koh and Liang (2017), as used in the paper's Eq. 2 and Algorithm 1, line 4.

    Parameters
    ----------
    head : LastLayer
        A head at the minimum of its loss.
    method : {"auto", "dense", "pcg", "lissa", "kfac"}
        ``dense`` factors the exact Hessian (relative error of a row below 1e-5); ``pcg`` solves
        by preconditioned conjugate gradients to a residual of 1e-5; ``lissa`` is the paper's
        stochastic recursion; ``kfac`` gives factored rows, exact for squared loss and otherwise
        in the metric of Kronecker factors (``kronecker.py``). ``auto`` takes ``dense``, or else
        ``pcg``, where it fits into memory and half an hour, else ``kfac``; ``reason`` in the
        result says why.
    rank : int, optional
        Give a sketch: the rows on their ``rank`` leading directions, through as many solves by
        ``dense`` or ``pcg``. :func:`dprune.prune` still reports the exact norm of its answer.
    out : (n, k (d + 1)) or (n, rank) float32, C-contiguous, or path, optional
        Where the rows are written. A path becomes an ``.npy`` memory map, and a run that was
        killed goes on where it stopped. Not for ``kfac``.
    leverage : bool, default False
        Correct each row for the sample's own share of the Hessian, which makes it the answer to
        the removal of this sample alone; sums of such rows mean nothing. ``dense`` for softmax,
        ``kfac`` for squared loss.

    device : {None, "cpu", "cuda"}
        With "cuda" rows are computed on a GPU (``auto``, ``dense``, ``pcg``, and sketches of
        them) and stay there as a float32 tensor, which :func:`dprune.prune` uses in place.

    Returns
    -------
    InfluenceRows

    Raises
    ------
    ValueError
        On an unknown method, an ``out`` of another shape or type, an option that the method does
        not have, or a singular Hessian.
    RuntimeError
        If ``lissa`` diverges.

    Warns
    -----
    UserWarning
        If the curvature nowhere exceeds the weight decay: the head saturates, or weight decay
        dominates.
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, found {method!r}")
    check_device(device)
    if device == "cuda":
        if out is not None or leverage:
            raise ValueError("out and leverage are for device='cpu'")
        import torch

        from dprune.gpu_influence import device_influence

        return device_influence(head, method, rank, torch.device("cuda"))
    reason = "asked for"
    if method == "auto":
        method, reason = _choose(head, out is not None, leverage, rank)
    _warn_of_vanishing_curvature(head)
    hessian = head.hessian
    squared = not isinstance(hessian, Hessian)
    if rank is not None:
        return _sketch(head, method, reason, rank, out, leverage)
    if leverage and method != ("kfac" if squared else "dense"):
        raise ValueError(
            f"leverage needs method {'kfac' if squared else 'dense'!r} for {head.criterion} loss, "
            f"found {method!r}"
        )
    if method == "kfac":
        if out is not None:
            raise ValueError("out is for rows; method 'kfac' makes factors")
        factors = factored_rows(head, leverage=leverage)
        rows = InfluenceRows(None, head, np.empty(0), not squared, method, reason, factors=factors)
        return rows if leverage or squared else _measured(rows)

    if not isinstance(hessian, Hessian):
        raise ValueError(
            f"method must be 'auto' or 'kfac' for squared loss, whose factored rows are exact, "
            f"found {method!r}"
        )
    key = f"{method} {leverage} {_key(head)}"
    output = open_output(out, (head.n, head.hessian.width), key)
    if method == "dense":
        residuals, error = dense_rows(hessian, head.contrast_errors, output, leverage=leverage)
        return InfluenceRows(output.finish(), head, residuals, False, method, reason, error=error)
    fill = pcg_rows if method == "pcg" else lissa_rows
    residuals, iterations = fill(head, output)
    rows = InfluenceRows(
        output.finish(), head, residuals, method == "lissa", method, reason, iterations
    )
    return _measured(rows) if method == "lissa" else rows


def _warn_of_vanishing_curvature(head: LastLayer) -> None:
    """Say so where weight decay is all that H consists of: rows are then plain gradients."""
    hessian = head.hessian
    largest = float(head.design.second_moment_eigh[0][-1])
    spread = 1.0
    if isinstance(hessian, Hessian):
        largest *= float(np.linalg.eigvalsh(hessian.class_factor)[-1])
        # trace B = E[1 - sum_c p_c^2]
        spread = float(np.trace(hessian.class_factor))
    if largest > head.weight_decay:
        return
    if spread < _SATURATED:
        cause = f"the head saturates (softmax within {spread:.0e} of one-hot, on average)"
        remedy = "refit the head (refit=True) or raise weight_decay"
    else:
        cause = f"weight_decay={head.weight_decay:g} dominates the head's curvature"
        remedy = "use the weight_decay of training, or scale the features up"
    warnings.warn(
        f"{cause}: the largest curvature is {largest:.1e}, no more than weight_decay, so influence "
        f"rows are little but gradients divided by n weight_decay; {remedy}",
        stacklevel=3,
    )


def _sketch(
    head: LastLayer,
    method: str,
    reason: str,
    rank: int,
    out: npt.NDArray[np.float32] | str | os.PathLike[str] | None,
    leverage: bool,
) -> InfluenceRows:
    hessian = head.hessian
    most = min(head.n, hessian.width)
    if isinstance(rank, bool) or not isinstance(rank, (int, np.integer)):
        raise TypeError(f"rank must be an integer, found {type(rank).__name__}")
    if not 1 <= rank <= most:
        raise ValueError(f"rank must lie in 1..{most}, found {rank}")
    if not isinstance(hessian, Hessian):
        raise ValueError("rank is for softmax; squared loss has exact factored rows")
    if method not in ("dense", "pcg") or leverage:
        raise ValueError(
            "rank needs method 'dense' or 'pcg' without leverage, found "
            f"{'leverage=True' if leverage else repr(method)}"
        )
    output = open_output(out, (head.n, rank), f"sketch {method} {_key(head)}")
    inverse = (
        DirectInverse(direct_solver(hessian, head.contrast_errors))
        if method == "dense"
        else IterativeInverse(hessian)
    )
    sketch = sketch_rows(head, inverse, rank)
    output.array[:] = sketch.rows
    return InfluenceRows(
        output.finish(),
        head,
        sketch.residuals,
        True,
        method,
        reason,
        sketch.iterations,
        basis=sketch.basis.astype(np.float32),
        left_out=sketch.left_out,
    )


def _choose(head: LastLayer, placed: bool, leverage: bool, rank: int | None) -> tuple[str, str]:
    """Method and reason: exact factors, the cheaper exact method that fits, or approximate ones."""
    if head.criterion == "squared":
        return "kfac", "squared loss: the Hessian is a Kronecker product, factored rows are exact"
    n, width = head.n, head.hessian.width
    features = head.design.shape[1]
    solves = n if rank is None else rank
    memory = _MEMORY_SHARE * free_memory()
    rows = 0 if placed else 4 * n * solves if rank is not None else 4 * n * width
    pairs = head.classes * (head.classes - 1) // 2
    # Operations, and bytes beside the rows: a float64 factor and its float32 copy.
    costs = {
        "dense": (n * features**2 * pairs + width**3 / 3 + 2 * solves * width**2, 16 * width**2),
        "pcg": (_EXPECTED_ITERATIONS * 4 * n * solves * head.classes * features, 0),
    }
    if leverage:
        del costs["pcg"]
    fitting = {
        name: operations
        for name, (operations, working) in costs.items()
        if rows + working <= memory and operations <= _MOST_OPERATIONS
    }
    size = f"n = {n}, N = {width}" + ("" if rank is None else f", rank = {rank}")
    if fitting:
        # Whole rows: the more accurate method wherever it fits. A sketch is approximate anyway.
        method = min(fitting, key=lambda name: fitting[name]) if rank else next(iter(fitting))
        return method, (
            f"{size}: {fitting[method]:.1e} operations and {(rows + costs[method][1]) / 1e9:.2g} "
            f"of {memory / 1e9:.2g} GB"
        )
    if rank is not None:
        return "pcg", f"{size}: a dense Hessian does not fit into {memory / 1e9:.2g} GB"
    cheapest = min(operations for operations, _ in costs.values())
    return "kfac", (
        f"{size}: exact rows would need {rows / 1e9:.2g} GB and {cheapest:.1e} operations, more "
        f"than {memory / 1e9:.2g} GB or {_MOST_OPERATIONS:.0e}; rank= gives a sketch of exact rows"
    )


def free_memory() -> float:
    """Bytes that this machine can still hand out."""
    try:
        with open("/proc/meminfo") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * int(line.split()[1])
    except OSError:
        pass
    return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _pair(rows: InfluenceRows) -> tuple[Float32, Float32]:
    if rows.factors is None:
        raise ValueError("rows must be dense or factored, found neither")
    return rows.factors


def _measured(rows: InfluenceRows) -> InfluenceRows:
    """With the error of rows across the data set against conjugate gradients, where affordable."""
    head = rows.head
    count = min(_SAMPLE, head.n)
    operations = 4.0 * head.n * head.classes * head.design.shape[1] * _EXPECTED_ITERATIONS
    count = min(count, int(_MOST_SAMPLE_OPERATIONS / operations))
    if count == 0:
        return rows
    sample = np.unique(np.linspace(0, head.n - 1, count).astype(np.int64))
    rhs = head.gradients(sample).T / head.n
    truth = head.hessian.solve(rhs, tol=1e-6).solution.T
    if rows.dense is not None:
        found = np.asarray(rows.dense[sample], dtype=np.float64)
    else:
        b, a = (factor[sample].astype(np.float64) for factor in _pair(rows))
        found = (b[:, :, None] * a[:, None, :]).reshape(len(sample), -1)
    norms = np.linalg.norm(truth, axis=1)
    gaps = np.linalg.norm(found - truth, axis=1)
    error = np.divide(gaps, norms, out=np.zeros_like(gaps), where=norms > 0)
    return replace(rows, error=float(error.max()))


def _key(head: LastLayer) -> str:
    """What the rows depend on, for resuming."""
    digest = hashlib.sha256(head.fingerprint.encode())
    digest.update(np.ascontiguousarray(head.theta).data)
    if head.sample_weights is not None:
        digest.update(head.sample_weights.data)
    return f"{digest.hexdigest()} {head.weight_decay!r} {head.criterion}"
