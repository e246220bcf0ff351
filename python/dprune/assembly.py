"""The softmax Hessian as a matrix, in float64.

With M_ab = (1/n) sum_i w_i p_ia p_ib h_i h_i^T for classes a < b, the class blocks of H are -M_ab
off the diagonal and sum_b M_ab on it (rows of diag p - p p^T sum to zero): every entry is a sum of
terms of one sign, so nothing cancels where the head saturates. M_ab is symmetric and its weights
are positive, so a rank-k update (syrk) of sqrt(w p_a p_b) X builds it at half the cost of a
product. The contrasts are applied last, one row of features at a time.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from dprune.design import Design, Float64

# Rows per update: a scaled copy of the block stays in cache.
_ROWS = 1024
# From this many features on, an update for each pair of classes beats one for all classes at
# once: it does half the work, but small ones do not reach the processor's speed.
_PAIRWISE_WIDTH = 160


def softmax_hessian(design: Design, probabilities: Float64, contrasts: Float64) -> Float64:
    """``(1/n) sum_i w_i (Q^T (diag p_i - p_i p_i^T) Q) (x) h_i h_i^T``, square, (C - 1)(d + 1)."""
    pairwise = design.shape[1] >= _PAIRWISE_WIDTH
    moments = (_pair_updates if pairwise else _joint_update)(design, probabilities)
    classes, k = contrasts.shape
    width = design.shape[1]
    first, second = np.triu_indices(classes, 1)
    matrix = np.empty((k, width, k, width))
    blocks = np.empty((classes, classes, width))
    for j in range(width):
        blocks[first, second] = moments[:, j]
        blocks[second, first] = moments[:, j]
        blocks[np.diag_indices(classes)] = 0.0
        total = blocks.sum(axis=1)
        np.negative(blocks, out=blocks)
        blocks[np.diag_indices(classes)] = total
        left = (contrasts.T @ blocks.reshape(classes, -1)).reshape(k, classes, width)
        np.matmul(contrasts.T, left, out=matrix[:, j])
    return matrix.reshape(k * width, k * width)


def _pair_updates(design: Design, probabilities: Float64) -> Float64:
    """``M_ab`` for a < b, (C (C - 1) / 2, d + 1, d + 1): one update for each pair."""
    n, width = design.shape
    pairs = list(zip(*np.triu_indices(probabilities.shape[1], 1), strict=True))
    moments = np.zeros((len(pairs), width, width))
    scaled = np.empty((_ROWS, width))
    for start in range(0, n, _ROWS):
        x, roots = _block(design, probabilities, slice(start, min(start + _ROWS, n)))
        z = scaled[: len(x)]
        for moment, (a, b) in zip(moments, pairs, strict=True):
            np.multiply(x, (roots[:, a] * roots[:, b])[:, None], out=z)
            _add_gram(z, moment)
    for moment in moments:
        _symmetrise(moment)
    moments /= n
    return moments


def _joint_update(design: Design, probabilities: Float64) -> Float64:
    """The same by one update of all columns ``p_a X``, all class blocks at once."""
    n, width = design.shape
    classes = probabilities.shape[1]
    gram = np.zeros((classes * width, classes * width))
    for start in range(0, n, _ROWS):
        x, roots = _block(design, probabilities, slice(start, min(start + _ROWS, n)))
        p = probabilities[start : start + _ROWS]
        columns = np.multiply(p[:, :, None], x[:, None, :])
        _add_gram(columns.reshape(len(x), -1), gram)
    _symmetrise(gram)
    first, second = np.triu_indices(classes, 1)
    blocks = gram.reshape(classes, width, classes, width)
    return np.asarray(blocks[first, :, second, :] / n)


def _block(design: Design, probabilities: Float64, block: slice) -> tuple[Float64, Float64]:
    """``sqrt(w) X`` and ``sqrt(p)`` of some rows."""
    x = design.rows(block)
    if design.weights is not None:
        x = x * np.sqrt(design.weights[block])[:, None]
    return x, np.sqrt(probabilities[block])


def _add_gram(z: Float64, out: Float64) -> None:
    """``out += z^T z`` in the upper triangle (of the C-ordered array)."""
    scipy.linalg.blas.dsyrk(1.0, z.T, beta=1.0, c=out.T, lower=1, overwrite_c=1)


def _symmetrise(matrix: Float64) -> None:
    """Copy the upper triangle to the lower one."""
    for i in range(1, len(matrix)):
        matrix[i, :i] = matrix[:i, i]
