"""What the methods of a comparison select by, and the baselines' scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune import scores
from dprune.head import LastLayer
from dprune.influence import influence
from dprune.influence_rows import InfluenceRows
from dprune.trajectory import Trajectory


@dataclass(frozen=True)
class Sources:
    """What the methods select by."""

    features: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    trajectories: list[Trajectory]
    head_decay: float
    method: str
    theta: npt.NDArray[np.float64] = field(repr=False)
    device: str | None = None

    @cached_property
    def head(self) -> LastLayer:
        """The last layer, refitted."""
        return LastLayer.fit(
            self.features,
            self.labels,
            self.head_decay,
            classes=len(self.theta),
            start=self.theta,
        )

    @cached_property
    def rows(self) -> InfluenceRows:
        """Influence of every sample, on the device; what prunes them then works there, too."""
        return influence(self.head, self.method, device=self.device)


def _ccs(sources: Sources, ratio: float) -> npt.NDArray[np.float64]:
    """By EL2N. The cutoffs are ours; the authors search one for each data set and ratio."""
    cutoff = 0.0 if ratio <= 0.5 else 0.1 if ratio <= 0.8 else 0.3
    return scores.ccs(scores.el2n(sources.trajectories), hard_cutoff=cutoff)


BASELINES: dict[str, Callable[[Sources, float], npt.NDArray[np.float64]]] = {
    "random": lambda s, _: scores.random(len(s.labels)),
    "herding": lambda s, _: scores.herding(s.features, s.labels),
    "herding-greedy": lambda s, _: scores.herding(s.features, s.labels, greedy=True),
    "forgetting": lambda s, _: scores.forgetting(s.trajectories),
    "el2n": lambda s, _: scores.el2n(s.trajectories),
    "grand": lambda s, _: scores.grand(s.trajectories),
    "influence-norm": lambda s, _: scores.influence_norm(s.rows),
    "moderate": lambda s, _: scores.moderate(s.features, s.labels),
    "ccs": _ccs,
}
