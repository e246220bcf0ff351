"""curve(): how the change of the head grows with the number removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dprune.curvature import Float64
from dprune.result import PruneResult
from dprune.solve import Search, Settings


@dataclass(frozen=True)
class Curve:
    """The trade-off between eps and m, one result a fraction.

    Attributes
    ----------
    results : tuple of PruneResult
        In the order of the fractions; each with its certificate.
    """

    results: tuple[PruneResult, ...]

    @property
    def fractions(self) -> Float64:
        """Share removed, m / n."""
        return np.array([len(r.removed) / r.n for r in self.results])

    @property
    def norms(self) -> Float64:
        """change_c of the subset found: the eps for which this many can go."""
        return np.array([r.norm for r in self.results])

    @property
    def random_norms(self) -> Float64:
        """change_c of a random subset of the same size and quotas."""
        return np.array([r.random_norm for r in self.results])

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[PruneResult]:
        return iter(self.results)

    def plot(self, ax: Any = None) -> Any:
        """Draw change against share removed, random beside it; returns the matplotlib axes."""
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots()
        ax.plot(self.fractions, self.norms, "o-", label="selected")
        ax.plot(self.fractions, self.random_norms, "s--", label="random")
        ax.set_yscale("log")
        ax.set_xlabel("share removed, m / n")
        ax.set_ylabel("change of the head")
        ax.legend()
        return ax


def curve(S: Any, fractions: Sequence[float], **settings: Any) -> Curve:
    """Eq. 4 at several sizes, in one pass.

    The sizes are solved in rising order. What the solver has computed of the rows for one serves
    the others, and each search starts from the last answer.

    Parameters
    ----------
    S : matrix, InfluenceRows or FactoredRows
        As for :func:`dprune.prune`.
    fractions : sequence of float
        Shares to remove, each in [0, 1].
    **settings
        Any of :func:`dprune.prune`'s other than the goal: ``reweight``, ``groups``, ``seed`` ...

    Returns
    -------
    Curve

    Raises
    ------
    TypeError, ValueError
        As :func:`dprune.prune`, and if no fraction is given.
    """
    if len(fractions) == 0:
        raise ValueError("fractions must hold at least one share, found none")
    for name in ("eps", "m", "fraction"):
        if name in settings:
            raise TypeError(f"curve takes fractions, found {name} as well")
    search = Search(S, Settings(**settings))
    results = {share: search.solve(fraction=share) for share in sorted(map(float, fractions))}
    return Curve(tuple(results[float(share)] for share in fractions))
