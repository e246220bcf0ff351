"""A few samples of a head that stand for all of them in ``S^T S``.

Length-squared sampling (Frieze, Kannan and Vempala, 2004): sample i is drawn with a probability
``q_i`` that grows with its squared row norm and then counts ``1 / q_i`` times, so that the sum of
``S_i S_i^T`` over those drawn has the right mean. On well-fitted heads most energy lies in few
rows, which uniform samples would miss. Row norms are estimated from a few random projections.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dprune.design import Float64
from dprune.head import LastLayer

# Random projections of a row: its squared norm is known to about a third.
_PROJECTIONS = 16
# Share of the draws that is spread over all samples alike: it bounds the weight of one whose
# energy was underestimated.
_EQUAL = 0.1


def sampled_head(
    head: LastLayer, inverse: Callable[[Float64], Float64], count: int, rng: np.random.Generator
) -> LastLayer:
    """The head on about ``count`` of its samples, weighted; itself where that saves little.

    Parameters
    ----------
    head : LastLayer
    inverse : callable
        ``H^-1 B``, roughly.
    count : int
    rng : Generator
    """
    if 2 * count > head.n:
        return head
    projections = rng.standard_normal((head.hessian.width, _PROJECTIONS))
    seen = head.gradient_product(inverse(projections), dtype=np.float32)
    inclusion = inclusion_probabilities(np.sum(seen.astype(np.float64) ** 2, axis=1), count)
    chosen = np.flatnonzero(rng.random(head.n) < inclusion)
    weights = 1.0 / np.sqrt(inclusion[chosen])
    if head.sample_weights is not None:
        weights *= head.sample_weights[chosen]
    return replace(
        head, features=head.features[chosen], labels=head.labels[chosen], sample_weights=weights
    )


def inclusion_probabilities(energies: Float64, count: int) -> Float64:
    """``q_i``, at most one, with the sum ``count``: a tenth alike, else as the energies."""
    total = energies.sum()
    shares = np.full(len(energies), 1.0 / len(energies))
    if total > 0.0:
        shares = _EQUAL * shares + (1.0 - _EQUAL) * energies / total
    # What the certain ones leave is spread over the others.
    certain = np.zeros(len(energies), dtype=bool)
    while True:
        left = count - np.count_nonzero(certain)
        inclusion = np.where(certain, 1.0, left * shares / shares[~certain].sum())
        more = inclusion > 1.0
        if not more.any():
            return inclusion
        certain |= more
