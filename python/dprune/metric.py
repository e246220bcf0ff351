"""The metric that block annealing walks in: flatter than the Euclidean one, so that it ends lower.

A walk that accepts flips by ``u^T M u`` freezes at a temperature in proportion to the mean of
``S_i^T M S_i``, that is ``T = a tr(M C)`` with C the rows' covariance, and leaves the sum u with
covariance ``(T / 2) M^-1``. What counts is still the Euclidean norm, in expectation

    ||u||^2 = (a / 2) tr(M^-1) tr(M C),   least for M = C^(-1/2)

where it is ``(sum_j s_j)^2`` in place of ``N sum_j s_j^2``, s_j^2 being C's eigenvalues: the
steeper the spectrum, the more is gained. The rows in this metric are ``S C^(-1/4)``. Where columns
are all but uncorrelated, C's diagonal is enough, and nothing is copied; factored rows keep their
form under the fourth roots of their factors' second moments.

With heavy-tailed rows C is that of the large ones, and the walk is about the small ones by the time
it freezes. Heads of well-fitted networks are like that, and their large rows lie in other
directions than their small ones: there no metric helps, whichever rows it is taken from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dprune.backend import to_host
from dprune.curvature import Float64
from dprune.sources import Source

# Problems of fewer rows are solved well as they are.
_LEAST_ROWS = 512
# Rows that tell whether columns are correlated; rows that give C, in all and for each column.
_SAMPLE = 512
_LEAST_FOR_C = 4096
_ROWS_PER_COLUMN = 4
# Columns are uncorrelated enough when C's diagonal holds this share of its squared entries.
_DIAGONAL = 0.7
# Norms are uneven where the median of their squares is below this share of the mean. Large and
# small rows, so many in all, must then share their directions to this degree (1: wholly).
_UNEVEN = 0.25
_HALVES = 2048
_ALIKE = 0.97
# The metric must promise this factor on ||u||^2.
_WORTH = 0.9
# Widest rows that are rotated.
_WIDEST = 4096
# Share of a time limit that setting up the metric may take.
_SHARE = 0.15
# Eigenvalues below this share of the largest count as this share.
_FLOOR = 1e-8


class Metric(NamedTuple):
    """Rows in the metric of the walk; without a store, those of the problem themselves."""

    store: Any  # _core.Rows, or its twin in _cuda
    mean: Float64 | None  # of those rows
    kind: str  # "euclidean", "scaled", "rotated" or "factored"


EUCLIDEAN = Metric(None, None, "euclidean")


def metric(source: Source, mean: Float64, seconds: float) -> Metric:
    """Choose a metric for these rows.

    Parameters
    ----------
    source : Source
    mean : (N,) float64
        Of the rows.
    seconds : float
        Time that the solver has, infinite without a limit.

    Returns
    -------
    Metric
        Euclidean where another one would not pay.
    """
    if source.n < _LEAST_ROWS:
        return EUCLIDEAN
    if _uneven(source) and not _same_directions(source):
        return EUCLIDEAN
    if source.factored:
        if not source.may_turn:
            return EUCLIDEAN
        b, a = (_fourth_root(source, factor) for factor in source.take(slice(None)))
        if b.gain * a.gain > _WORTH:
            return EUCLIDEAN
        middle = b.matrix.T @ mean.reshape(len(b.matrix), -1) @ a.matrix
        return Metric(source.turned(b.matrix, a.matrix), middle.ravel(), "factored")
    n, width = source.n, source.width
    if n * width / source.reading > _SHARE * seconds:
        return EUCLIDEAN
    some = _centred(to_host(source.take(_spread(n, _SAMPLE))[0]))
    spread = np.einsum("ij,ij->j", some, some, dtype=np.float64) / len(some)
    products = some @ some.T
    np.fill_diagonal(products, 0.0)
    squares = float(np.einsum("ij,ij->", products, products, dtype=np.float64))
    squares /= len(some) * (len(some) - 1)  # tr C^2, unbiased
    if float(spread @ spread) >= _DIAGONAL * squares:
        s = np.sqrt(np.maximum(spread, _FLOOR * spread.max()))
        if spread.max() == 0.0 or _gain(s) > _WORTH:
            return EUCLIDEAN
        scale = _unit(s**-0.5)
        return Metric(source.turned(scale), mean * scale, "scaled")
    rows = min(n, max(_LEAST_FOR_C, _ROWS_PER_COLUMN * width))
    operations = 2.0 * width**2 * (n + rows + 5.0 * width)
    slow = operations / source.multiplying > _SHARE * seconds
    if not source.may_turn or width > _WIDEST or slow:
        return EUCLIDEAN
    root = _fourth_root(source, _centred(source.take(_spread(n, rows))[0]))
    if root.gain > _WORTH:
        return EUCLIDEAN
    return Metric(source.turned(root.matrix), mean @ root.matrix, "rotated")


def _uneven(source: Source) -> bool:
    q = source.squared_norms
    return bool(np.median(q) < _UNEVEN * q.mean())


def _same_directions(source: Source) -> bool:
    """Whether large and small rows, at unit length, have like mean squares of their columns."""
    rows = _spread(source.n, _HALVES)
    order = np.argsort(source.squared_norms[rows], kind="stable")
    overlap = 1.0
    for part in source.take(rows):
        squares = np.square(to_host(part), dtype=np.float64)[order]
        lengths = squares.sum(axis=1, keepdims=True)
        squares /= np.where(lengths > 0.0, lengths, 1.0)
        small, large = (half.mean(axis=0) for half in np.array_split(squares, 2))
        overlap *= float(np.sqrt(small * large).sum()) ** 2
    return overlap >= _ALIKE


class _Root(NamedTuple):
    matrix: npt.NDArray[np.float32]  # C^(-1/4) up to a rotation and a factor
    gain: float  # what the metric promises on ||u||^2, a factor


def _fourth_root(source: Source, rows: Any) -> _Root:
    moment = np.asarray(to_host(rows.T @ rows), dtype=np.float64) / len(rows)
    values, vectors = source.eigh(moment)
    if values[-1] <= 0.0:  # no spread at all: nothing to gain
        return _Root(np.eye(len(moment), dtype=np.float32), 1.0)
    s = np.sqrt(np.maximum(values, _FLOOR * values[-1]))
    return _Root(np.ascontiguousarray(vectors * _unit(s**-0.5), dtype=np.float32), _gain(s))


def _gain(s: Float64) -> float:
    return float(s.sum() ** 2 / (len(s) * np.sum(s**2)))


def _unit(scale: Float64) -> npt.NDArray[np.float32]:
    return np.asarray(scale / scale.min(), dtype=np.float32)


def _centred(rows: Any) -> Any:
    return rows - rows.mean(axis=0)


def _spread(n: int, count: int) -> npt.NDArray[np.int64]:
    """So many row numbers, evenly spread."""
    return np.arange(min(n, count)) * n // min(n, count)
