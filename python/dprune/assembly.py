"""The softmax Hessian as a matrix.

With M_ab = (1/n) sum_i p_ia p_ib x_i x_i^T for classes a < b, the class blocks of H are -M_ab off
the diagonal and sum_b M_ab on it (rows of diag p - p p^T sum to zero): every block is a sum of
terms of one sign, so nothing cancels where the head saturates. M_ab is symmetric: features are cut
into strips, and ``p_a X`` up to the end of a strip is multiplied with the strip's columns of
``p_b X`` for all b > a at once. The contrasts are applied last, to a few rows of features at a
time.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune.design import Float64

# Features of a strip: narrow ones save work on the symmetric blocks, wide ones run faster.
_STRIP = 128
# Samples summed in the precision of X before they are added in float64, at most, and the entries
# of their columns for all classes.
_SAMPLES = 4096
_COLUMN_ENTRIES = 1 << 25
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
    moments = _pair_moments(x, probabilities)
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
    """``n M_ab`` for a < b in lexicographic order, (C (C - 1) / 2, width, width)."""
    n, width = x.shape
    classes = probabilities.shape[1]
    edges = np.linspace(0, width, max(1, round(width / _STRIP)) + 1).astype(int)
    strips = [slice(a, b) for a, b in itertools.pairwise(edges)]
    widths = np.diff(edges)
    later = range(classes - 1, 0, -1)  # how many classes come after a
    sums = [
        [np.zeros((strip.stop, b * size)) for b in later]
        for strip, size in zip(strips, widths, strict=True)
    ]
    p = np.ascontiguousarray(probabilities.T, dtype=x.dtype)
    step = max(64, min(_SAMPLES, _COLUMN_ENTRIES // (classes * width)))
    for start in range(0, n, step):
        block = slice(start, min(start + step, n))
        scaled = p[:, block, None] * x[block]  # p_a X
        for strip, size, total in zip(strips, widths, sums, strict=True):
            # (samples, (C - 1) * strip): class by class, without the first
            columns = scaled[1:, :, strip].transpose(1, 0, 2).reshape(scaled.shape[1], -1)
            for a in range(classes - 1):
                total[a] += scaled[a, :, : strip.stop].T @ columns[:, a * size :]
    moments = np.empty((classes * (classes - 1) // 2, width, width))
    # What is unpacked is let go of: for wide features these are gigabytes.
    for strip, size in zip(strips, widths, strict=True):
        done = 0
        for product in sums.pop(0):
            blocks = product.reshape(strip.stop, -1, size)
            pairs = slice(done, done + blocks.shape[1])
            moments[pairs, : strip.stop, strip] = blocks.transpose(1, 0, 2)
            moments[pairs, strip, : strip.stop] = blocks.transpose(1, 2, 0)
            done = pairs.stop
    return moments
