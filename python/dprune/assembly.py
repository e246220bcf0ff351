"""The softmax Hessian as a matrix.

With M_ab = (1/n) sum_i p_ia p_ib x_i x_i^T for classes a < b, the class blocks of H are -M_ab off
the diagonal and sum_b M_ab on it (rows of diag p - p p^T sum to zero): every block is a sum of
terms of one sign, so nothing cancels where the head saturates. M_ab is symmetric: features are cut
into strips, and only products of a strip with itself and later ones are formed, for all b > a at
once, from the columns ``p_a X``. The contrasts are applied last, to a few rows of features at a
time.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune.design import Float64

# Features of a strip: narrow ones save work on the symmetric blocks, wide ones run faster.
_STRIP = 256
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
    count = max(1, width // _STRIP)
    edges = np.linspace(0, width, count + 1).astype(int)
    strips = [slice(a, b) for a, b in itertools.pairwise(edges)]
    widths = np.diff(edges)
    corners = [(i, j) for i in range(count) for j in range(i, count)]
    later = range(classes - 1, 0, -1)  # how many classes come after a
    sums = [[np.zeros((widths[i], b * widths[j])) for b in later] for i, j in corners]
    p = probabilities.astype(x.dtype, copy=False)
    step = max(64, min(_SAMPLES, _COLUMN_ENTRIES // (classes * width)))
    for start in range(0, n, step):
        block = slice(start, min(start + step, n))
        # (samples, classes * strip): p_a X, class by class
        columns = [
            (p[block, :, None] * x[block, None, strip]).reshape(block.stop - start, -1)
            for strip in strips
        ]
        for total, (i, j) in zip(sums, corners, strict=True):
            size, other = widths[i], widths[j]
            for a in range(classes - 1):
                left = columns[i][:, a * size : (a + 1) * size]
                total[a] += left.T @ columns[j][:, (a + 1) * other :]
    moments = np.empty((classes * (classes - 1) // 2, width, width))
    # What is unpacked is let go of: for wide features these are gigabytes.
    for i, j in corners:
        done = 0
        for product in sums.pop(0):
            blocks = product.reshape(widths[i], -1, widths[j])
            pairs = slice(done, done + blocks.shape[1])
            moments[pairs, strips[i], strips[j]] = blocks.transpose(1, 0, 2)
            moments[pairs, strips[j], strips[i]] = blocks.transpose(1, 2, 0)
            done = pairs.stop
    return moments
