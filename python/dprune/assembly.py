"""The softmax Hessian as a matrix.

With M_ab = (1/n) sum_i p_ia p_ib x_i x_i^T for classes a < b, the class blocks of H are -M_ab off
the diagonal and sum_b M_ab on it (rows of diag p - p p^T sum to zero): every block is a sum of
terms of one sign, so nothing cancels where the head saturates. M_ab is symmetric and its weights
are positive, so a symmetric rank-k update (syrk) of sqrt(p_a p_b) X builds it at half the cost of
a product. The contrasts are applied last, to a few rows of features at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import blas

from dprune.design import Float64

# Rows per update: a scaled copy of the block stays in cache.
_ROWS = 1024
# Rows summed in the precision of X before they are added in float64.
_SUMMED_ROWS = 8 * _ROWS
# From this many features on, an update for each pair of classes beats one for all classes at
# once: it does half the work, but small ones do not reach the processor's speed.
_PAIRWISE_WIDTH = 160
# Entries of the moments to which the contrasts are applied at once.
_TURNED_ENTRIES = 1 << 20


def softmax_hessian(x: npt.NDArray[Any], probabilities: Float64, contrasts: Float64) -> Float64:
    """``(1/n) sum_i (Q^T (diag p_i - p_i p_i^T) Q) (x) x_i x_i^T`` in float64.

    Parameters
    ----------
    x : (n, width) float32 or float64, C-contiguous
        Design rows, times the roots of the sample weights. Products run in its precision, sums
        over more than some thousand rows in float64.
    probabilities : (n, C) float64
    contrasts : (C, k) float64

    Returns
    -------
    (k width, k width) float64, C-contiguous
    """
    n, width = x.shape
    k = contrasts.shape[1]
    update = _pair_moments if width >= _PAIRWISE_WIDTH else _joint_moments
    moments = update(x, probabilities)
    # Q^T L Q for the graph Laplacian L with the weights M_ab:
    # block (i, j) = sum_{a < b} (q_ai - q_bi) (q_aj - q_bj) M_ab
    first, second = np.triu_indices(len(contrasts), 1)
    difference = contrasts[first] - contrasts[second]
    rows, columns = np.triu_indices(k)
    mixing = (difference[:, rows] * difference[:, columns]).T / n
    matrix = np.empty((k, width, k, width))
    step = max(1, _TURNED_ENTRIES // (len(first) * width))
    for start in range(0, width, step):
        part = slice(start, min(start + step, width))
        turned = mixing @ moments[:, part].reshape(len(first), -1)
        for block, i, j in zip(turned, rows, columns, strict=True):
            matrix[i, part, j] = matrix[j, part, i] = block.reshape(-1, width)
    return matrix.reshape(k * width, k * width)


def _pair_moments(x: npt.NDArray[Any], probabilities: Float64) -> Float64:
    """``n M_ab`` for a < b, (C (C - 1) / 2, width, width): one update for each pair."""
    n, width = x.shape
    syrk = blas.ssyrk if x.dtype == np.float32 else blas.dsyrk
    first, second = np.triu_indices(probabilities.shape[1], 1)
    moments = np.zeros((len(first), width, width))
    gram = np.empty((width, width), dtype=x.dtype)
    scaled = np.empty((_ROWS, width), dtype=x.dtype)
    roots = np.sqrt(probabilities).astype(x.dtype)
    for begin in range(0, n, _SUMMED_ROWS):
        end = min(begin + _SUMMED_ROWS, n)
        for moment, a, b in zip(moments, first, second, strict=True):
            weights = roots[begin:end, a] * roots[begin:end, b]
            gram[:] = 0.0
            for start in range(begin, end, _ROWS):
                block = x[start : min(start + _ROWS, end)]
                z = scaled[: len(block)]
                weight = weights[start - begin : start - begin + len(block), None]
                np.multiply(block, weight, out=z)
                syrk(1.0, z.T, beta=1.0, c=gram.T, lower=1, overwrite_c=1)
            moment += gram
    for moment in moments:
        mirror(moment)
    return moments


def _joint_moments(x: npt.NDArray[Any], probabilities: Float64) -> Float64:
    """The same through one update of the columns ``p_a X`` of all classes, in float64."""
    n, width = x.shape
    classes = probabilities.shape[1]
    gram = np.zeros((classes * width, classes * width))
    for start in range(0, n, _ROWS):
        p = probabilities[start : start + _ROWS]
        columns = np.multiply(p[:, :, None], x[start : start + _ROWS, None, :])
        z = columns.reshape(len(p), -1)
        blas.dsyrk(1.0, z.T, beta=1.0, c=gram.T, lower=1, overwrite_c=1)
    mirror(gram)
    first, second = np.triu_indices(classes, 1)
    blocks = gram.reshape(classes, width, classes, width)
    return np.asarray(blocks[first, :, second, :])


def mirror(matrix: npt.NDArray[Any]) -> None:
    """Copy the upper triangle of a square C-ordered matrix to the lower one."""
    for start in range(0, len(matrix), 256):
        stop = min(start + 256, len(matrix))
        matrix[start:stop, :start] = matrix[:start, start:stop].T
        corner = matrix[start:stop, start:stop]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
