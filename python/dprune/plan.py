"""What a comparison of methods runs: the plan and its checks."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from dprune import train
from dprune.selection import BASELINES

OURS = "dprune"
FIXED = "dprune@"
QUOTAS = "+quotas"
# A baseline whose runs use another subset for every seed.
PER_SEED = ("random", "random" + QUOTAS)
_SNAPSHOT_SHARE = 0.1


@dataclass(frozen=True)
class Plan:
    """What is compared. All but methods, ratios and seeds identify the results in a folder.

    Attributes
    ----------
    methods : tuple of str
        ``dprune``; ``dprune@c`` with a fixed reweight c; the baselines, see :data:`BASELINES`, each
        also with ``+quotas``: class-proportional.
    ratios : tuple of float
        Shares removed, in (0, 1).
    seeds : int
        Networks retrained on each kept set.
    network : str
        See :func:`dprune.models.network`.
    width : int or None
    recipe : dprune.train.Recipe
    sources : int
        Networks trained on the whole set; trajectories are averaged over them, features and
        influence come from the first.
    source_network : str or None
        Another network to select by, the choice of c included; None: the one that is retrained.
    source_width : int or None
    rows : str
        Method of :func:`dprune.influence`.
    candidates : tuple of float
        Among which ``dprune`` chooses c.
    choice_runs : int
        Trainings per candidate and hold-out.
    holdouts : int
        Disjoint parts of the training data that judge the candidates one after the other.
    validation : float
        Share of the training data in each.
    head_decay : float or None
        Weight decay of the head's Hessian; None: the recipe's.
    device : str
        Where networks are trained; with "cuda" rows are computed and pruned there, too.
    jobs : int
        Worker processes for the retrainings.
    """

    methods: tuple[str, ...] = ("random", "random+quotas", "el2n", "forgetting", OURS)
    ratios: tuple[float, ...] = (0.5, 0.7, 0.9)
    seeds: int = 3
    network: str = "small"
    width: int | None = None
    recipe: train.Recipe = field(default_factory=train.Recipe)
    sources: int = 3
    source_network: str | None = None
    source_width: int | None = None
    rows: str = "auto"
    candidates: tuple[float, ...] = (0.0, 0.5, 1.0)
    choice_runs: int = 2
    holdouts: int = 3
    validation: float = 0.1
    head_decay: float | None = None
    device: str = "cpu"
    jobs: int = 1

    def __post_init__(self) -> None:
        for name in self.methods:
            _check_method(name)
        for ratio in self.ratios:
            if not 0.0 < ratio < 1.0:
                raise ValueError(f"ratios must lie in (0, 1), found {ratio}")
        for name in ("seeds", "sources", "choice_runs", "holdouts", "jobs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")

    @property
    def snapshot(self) -> int:
        """The early epoch of EL2N and GraNd."""
        return max(1, round(_SNAPSHOT_SHARE * self.recipe.epochs))

    @property
    def source(self) -> Plan:
        """The plan with the network that is selected by."""
        if self.source_network is None:
            return self
        return dataclasses.replace(
            self,
            network=self.source_network,
            width=self.source_width,
            source_network=None,
            source_width=None,
        )

    @property
    def selects_by_itself(self) -> bool:
        """Whether the network that is selected by is the one that is retrained."""
        return (self.source.network, self.source.width) == (self.network, self.width)

    def identity(self) -> dict[str, Any]:
        """What must agree for results to be of one experiment, as JSON keeps it."""
        settings = dataclasses.asdict(self)
        for name in ("methods", "ratios", "seeds", "device", "jobs"):
            del settings[name]
        identity: dict[str, Any] = json.loads(json.dumps(settings))
        return identity


def _check_method(name: str) -> None:
    if name == OURS:
        return
    if name.startswith(FIXED):
        try:
            if 0.0 <= float(name.removeprefix(FIXED)) <= 1.0:
                return
        except ValueError:
            pass
        raise ValueError(f"methods must give {FIXED} a number in [0, 1], found {name!r}")
    if name.removesuffix(QUOTAS) not in BASELINES:
        known = ", ".join([OURS, f"{FIXED}c", *BASELINES])
        raise ValueError(f"methods must be among {known} (or with {QUOTAS}), found {name!r}")
