"""Upper bounds on what any subset could reach: the dual of Eq. 3's relaxation.

For every vector v, and every allowed W with change_c(W) <= eps,

    sum W  <=  eps ||v|| + sum_i W_i a_i ,   a_i = 1 - c eps ||v|| / n - v.(S_i - c Sbar) ,

and the sum is at most that of the positive a_i: of unprotected samples, and in each group of no
more than may leave it. A convex function of v, minimised like the hinge loss of a support vector
machine; any v gives a valid bound, so the minimiser need not be exact.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.optimize

from dprune.curvature import Float64
from dprune.sources import Source

# Beyond this share of the trivial bound nothing is learnt, and the search is spared.
_TRIVIAL_SHARE = 0.99
# Numbers of S that the minimisation may read.
_NUMBERS = 3e10
_MOST_STEPS = 400
_SECONDS = 10.0
# Widths of the rounded corner of the hinge, one after the other.
_CORNERS = (0.3, 0.03)


class Bound(NamedTuple):
    """No allowed subset within eps removes more."""

    removed: int
    kind: str  # "dual" or "trivial"


def dual_bound(
    source: Source,
    total: Float64,
    eps: float,
    reweight: float,
    labels: npt.NDArray[np.int64],
    caps: npt.NDArray[np.int64],
    protect: npt.NDArray[np.uint8],
    seconds: float = _SECONDS,
) -> Bound:
    """Bound Eq. 3 from above.

    Parameters
    ----------
    source : Source
        The rows.
    total : (N,) float64
        Their sum.
    eps, reweight : float
        As in Eq. 3; reweight is c.
    labels : (n,) int64
        Groups 0..G-1.
    caps : (G,) int64
        Most that may leave each group.
    protect : (n,) bool
        Never removed.
    seconds : float
        About how long the minimisation may take; any time gives a valid bound.
    """
    n = source.n
    trivial = Bound(int(min(caps.sum(), n - 1)), "trivial")
    length = float(np.linalg.norm(total))
    if reweight == 1.0 or length <= eps or trivial.removed == 0:
        return trivial
    mean = total / n

    def hinges(v: Float64) -> Float64:
        norm = float(np.linalg.norm(v))
        along = source.dots(v) - reweight * float(mean @ v)
        return np.where(protect == 0, 1.0 - reweight * eps * norm / n - along, 0.0)

    def value(norm: float, a: Float64) -> float:
        a = np.maximum(a, 0.0)
        if (caps >= np.bincount(labels[protect == 0], minlength=len(caps))).all():
            return eps * norm + float(a.sum())
        order = np.lexsort((-a, labels))
        first = np.searchsorted(labels[order], np.arange(len(caps)))
        rank = np.arange(n) - first[labels[order]]
        return eps * norm + float(a[order][rank < caps[labels[order]]].sum())

    # Along the sum of the rows one pass suffices.
    start = time.perf_counter()
    along = 1.0 - hinges(total / length) - reweight * eps / n
    # A step reads S twice, and now and then a third time.
    affordable = seconds / (3 * len(_CORNERS) * max(time.perf_counter() - start, 1e-6))
    found = scipy.optimize.minimize_scalar(
        lambda t: value(
            abs(t), np.where(protect == 0, 1.0 - abs(t) * (reweight * eps / n + along), 0.0)
        ),
        bounds=(0.0, 4.0 * n / length),
        method="bounded",
    )
    best = float(found.fun)
    if best > _TRIVIAL_SHARE * trivial.removed:
        return trivial
    v = total / length * float(found.x)

    # Rounded hinges and norm, minimised by L-BFGS in units of the columns' spread.
    scale = 1.0 / np.sqrt(np.maximum(source.mean_square_columns(), 1e-300))
    steps = int(min(_MOST_STEPS, _NUMBERS / (n * source.width), affordable))
    for corner in _CORNERS:

        def rounded(x: Float64, corner: float = corner) -> tuple[float, Float64]:
            v = x * scale
            norm = math.sqrt(float(v @ v) + 1e-300)
            a = hinges(v)
            weight = np.clip(a / corner, 0.0, 1.0)
            loss = float((weight * (a - 0.5 * corner * weight)).sum())
            slope = weight.sum()
            gradient = (
                eps * (1.0 - reweight * slope / n) * v / norm
                - source.weighted_sum(weight)
                + reweight * slope * mean
            )
            return eps * norm + loss, gradient * scale

        if steps == 0:
            break
        x = scipy.optimize.minimize(
            rounded, v / scale, jac=True, method="L-BFGS-B", options={"maxiter": steps}
        ).x
        v = x * scale
        best = min(best, value(float(np.linalg.norm(v)), hinges(v)))
    removed = math.floor(best * (1.0 + 1e-10) + 1e-6)
    return Bound(removed, "dual") if removed < trivial.removed else trivial
