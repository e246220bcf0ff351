"""Influence rows: how much the last layer moves when a sample is left out (paper, Eq. 2)."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dprune._resume import Output, open_output
from dprune.backend import check_device
from dprune.bfloat16 import BFloat16Rows
from dprune.curvature import Hessian
from dprune.direct import dense_rows, direct_solver
from dprune.factored import FactoredRows
from dprune.head import LastLayer
from dprune.influence_rows import InfluenceRows, factors_of
from dprune.iterative import lissa_rows, pcg_rows
from dprune.kronecker import factored_rows
from dprune.method import EXPECTED_ITERATIONS, choose_method
from dprune.sketch import DirectInverse, IterativeInverse, sketch_rows

if TYPE_CHECKING:
    import torch

# Where rows may be written.
Target: TypeAlias = "npt.NDArray[Any] | BFloat16Rows | torch.Tensor | str | os.PathLike[str] | None"

_METHODS = ("auto", "dense", "pcg", "lissa", "kfac")
_DTYPES = {"float32": 4, "bfloat16": 2}
# Mean of 1 - sum_c p_c^2 below which the head counts as saturated.
_SATURATED = 1e-3
# Rows whose error is measured against conjugate gradients, and the operations that may cost.
_SAMPLE = 16
_MOST_SAMPLE_OPERATIONS = 2e12


def influence(
    head: LastLayer,
    method: str = "auto",
    rank: int | None = None,
    out: Target = None,
    *,
    dtype: str = "float32",
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
    out : (n, k (d + 1)) or (n, rank) array, C-contiguous, BFloat16Rows, or path, optional
        Where the rows are written. A path becomes an ``.npy`` memory map, which
        :func:`dprune.open_rows` opens again, and a run that was killed goes on where it stopped.
        With ``device="cuda"`` a contiguous CUDA tensor. Not for ``kfac``.
    dtype : {"float32", "bfloat16"}, default "float32"
        How rows are kept. bfloat16 has 8 bits of precision (rows are off by .2 %, at random) and
        halves memory and reading. Not for ``kfac``.
    leverage : bool, default False
        Correct each row for the sample's own share of the Hessian, which makes it the answer to
        the removal of this sample alone; sums of such rows mean nothing. ``dense`` for softmax,
        ``kfac`` for squared loss.
    device : {None, "cpu", "cuda"}
        With "cuda" rows are computed on a GPU (``auto``, ``dense``, ``pcg``, sketches of them and
        ``kfac``) and stay there as tensors, which :func:`dprune.prune` uses in place.

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
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(_DTYPES)}, found {dtype!r}")
    check_device(device)
    reason = "asked for"
    if method == "auto":
        method, reason = choose_method(
            head,
            device,
            placed=out is not None,
            leverage=leverage,
            rank=rank,
            bytes_each=_DTYPES[dtype],
        )
    _check_options(head, method, rank, out, dtype, leverage)
    _warn_of_vanishing_curvature(head)
    if device == "cuda":
        if leverage or method == "lissa":
            found = "leverage=True" if leverage else "method='lissa'"
            raise ValueError(f"leverage and method 'lissa' are for device='cpu', found {found}")
        from dprune.gpu_influence import device_influence

        rows = device_influence(head, method, rank, reason=reason, dtype=dtype, out=out)
        return _measured(rows) if rows.factors is not None and rows.approximate else rows
    hessian = head.hessian
    if not isinstance(hessian, Hessian) or method == "kfac":
        factors = factored_rows(head, leverage=leverage)
        approximate = head.criterion != "squared"
        rows = InfluenceRows(None, head, np.empty(0), approximate, method, reason, factors=factors)
        return _measured(rows) if approximate else rows
    if rank is not None:
        return _sketch(head, hessian, method, reason, rank, out, dtype)
    key = f"{method} {leverage} {_key(head)}"
    output = open_output(out, (head.n, head.hessian.width), dtype, key)
    if method == "dense":
        residuals, error = dense_rows(hessian, head.contrast_errors, output, leverage=leverage)
        return InfluenceRows(_kept(output), head, residuals, False, method, reason, error=error)
    fill = pcg_rows if method == "pcg" else lissa_rows
    residuals, iterations = fill(head, output)
    rows = InfluenceRows(
        _kept(output), head, residuals, method == "lissa", method, reason, iterations
    )
    return _measured(rows) if method == "lissa" else rows


def _check_options(
    head: LastLayer, method: str, rank: int | None, out: Target, dtype: str, leverage: bool
) -> None:
    """Refuse what a method does not have."""
    squared = head.criterion == "squared"
    if rank is not None:
        most = min(head.n, head.hessian.width)
        if isinstance(rank, bool) or not isinstance(rank, (int, np.integer)):
            raise TypeError(f"rank must be an integer, found {type(rank).__name__}")
        if not 1 <= rank <= most:
            raise ValueError(f"rank must lie in 1..{most}, found {rank}")
        if squared:
            raise ValueError("rank is for softmax; squared loss has exact factored rows")
        if method not in ("dense", "pcg") or leverage:
            raise ValueError(
                "rank needs method 'dense' or 'pcg' without leverage, found "
                f"{'leverage=True' if leverage else repr(method)}"
            )
    if leverage and method != ("kfac" if squared else "dense"):
        raise ValueError(
            f"leverage needs method {'kfac' if squared else 'dense'!r} for {head.criterion} loss, "
            f"found {method!r}"
        )
    if method == "kfac" and out is not None:
        raise ValueError("out is for rows; method 'kfac' makes factors")
    if method == "kfac" and dtype != "float32":
        raise ValueError("dtype is for rows; method 'kfac' makes float32 factors")
    if squared and method != "kfac":
        raise ValueError(
            f"method must be 'auto' or 'kfac' for squared loss, whose factored rows are exact, "
            f"found {method!r}"
        )


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
    hessian: Hessian,
    method: str,
    reason: str,
    rank: int,
    out: Target,
    dtype: str,
) -> InfluenceRows:
    output = open_output(out, (head.n, rank), dtype, f"sketch {method} {_key(head)}")
    inverse = (
        DirectInverse(direct_solver(hessian, head.contrast_errors))
        if method == "dense"
        else IterativeInverse(hessian)
    )
    sketch = sketch_rows(head, inverse, rank)
    output.append(sketch.rows)
    return InfluenceRows(
        _kept(output),
        head,
        sketch.residuals,
        True,
        method,
        reason,
        sketch.iterations,
        basis=sketch.basis.astype(np.float32),
        left_out=sketch.left_out,
    )


def _kept(output: Output) -> npt.NDArray[np.float32] | BFloat16Rows:
    """The finished rows; uint16 are the bits of bfloat16 numbers."""
    array = output.finish()
    return BFloat16Rows(array) if array.dtype == np.uint16 else array


def _measured(rows: InfluenceRows) -> InfluenceRows:
    """With the error of rows across the data set against conjugate gradients, where affordable."""
    head = rows.head
    count = min(_SAMPLE, head.n)
    operations = 4.0 * head.n * head.classes * head.design.shape[1] * EXPECTED_ITERATIONS
    count = min(count, int(_MOST_SAMPLE_OPERATIONS / operations))
    if count == 0:
        return rows
    sample = np.unique(np.linspace(0, head.n - 1, count).astype(np.int64))
    rhs = head.gradients(sample).T / head.n
    truth = head.hessian.solve(rhs, tol=1e-6).solution.T
    if rows.dense is not None:
        found = np.asarray(rows.dense[sample], dtype=np.float64)
    else:
        found = np.asarray(FactoredRows(*factors_of(rows))[sample], dtype=np.float64)
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
