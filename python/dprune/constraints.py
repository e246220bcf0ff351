"""Which subsets are allowed, and what is asked for: the checked arguments of prune()."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune import _core
from dprune._checks import integer_vector


@dataclass(frozen=True)
class Constraints:
    """Which subsets are allowed: labels 0..G-1, least kept a group, protection."""

    labels: npt.NDArray[np.int64]
    floors: npt.NDArray[np.int64]
    proportional: bool
    protect: npt.NDArray[np.uint8]

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Samples of each group."""
        return np.bincount(self.labels, minlength=len(self.floors))

    @property
    def most_removable(self) -> int:
        """Samples that may go without breaking a floor."""
        return int(len(self.labels) - self.floors.sum())

    def removed_counts(self, m: int) -> npt.NDArray[np.int64]:
        """Per group: removed under proportional quotas, else the most that may go."""
        counts = _core.removed_counts(self.labels, self.floors, self.proportional, m)
        return np.array(counts, dtype=np.int64)


def goal(
    eps: float | None, m: int | None, fraction: float | None, n: int, reweight: float
) -> tuple[float | None, int | None]:
    """``(eps, None)`` for Eq. 3 or ``(None, m)`` for Eq. 4, from prune()'s three arguments."""
    given = [
        name for name, v in {"eps": eps, "m": m, "fraction": fraction}.items() if v is not None
    ]
    if len(given) != 1:
        raise ValueError(
            f"exactly one of eps, m, fraction must be given, found {', '.join(given) or 'none'}"
        )
    if eps is not None:
        if isinstance(eps, bool) or not isinstance(eps, Real):
            raise TypeError(f"eps must be a real number, found {type(eps).__name__}")
        if not (math.isfinite(eps) and eps >= 0):
            raise ValueError(f"eps must be finite and at least 0, found {eps}")
        return float(eps), None
    if fraction is not None:
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction must lie in [0, 1], found {fraction}")
        name, size = "fraction", round(fraction * n)
    else:
        assert m is not None
        name, size = "m", at_least(m, 0, "m")
    if size > n:
        raise ValueError(f"m must lie in 0..{n}, found {size}")
    if size == n and reweight == 1.0:
        raise ValueError(f"{name} must leave at least one sample with reweight=1, found m={n}")
    return None, size


def constraints(
    n: int,
    groups: npt.ArrayLike | None,
    balance: str | None,
    min_keep: int,
    protect: npt.ArrayLike | None,
) -> Constraints:
    """Check prune()'s groups, balance, min_keep and protect."""
    min_keep = at_least(min_keep, 0, "min_keep")
    if balance not in (None, "proportional"):
        raise ValueError(f"balance must be None or 'proportional', found {balance!r}")
    if groups is None:
        for name, value in (("balance", balance), ("min_keep", min_keep)):
            if value:
                raise ValueError(f"{name} needs groups, found groups=None")
        labels = np.zeros(n, dtype=np.int64)
    else:
        _, labels = np.unique(integer_vector(groups, n, "groups"), return_inverse=True)
        labels = np.ascontiguousarray(labels, dtype=np.int64)
    if protect is None:
        protected = np.zeros(n, dtype=bool)
    else:
        protected = np.asarray(protect)
        if protected.dtype != np.bool_:
            raise TypeError(f"protect must be a bool mask, found {protected.dtype}")
        if protected.shape != (n,):
            raise ValueError(f"protect must have shape ({n},), found {protected.shape}")
        if protected.all():
            raise ValueError(f"protect must leave a sample that can go, found all {n} protected")
    sizes = np.bincount(labels)
    floors = np.maximum(np.bincount(labels[protected], minlength=len(sizes)), min_keep)
    if groups is not None and n > 0 and (np.minimum(floors, sizes) == sizes).all():
        raise ValueError(
            f"min_keep must leave a sample that can go, found {min_keep} for groups of at most "
            f"{int(sizes.max())}"
        )
    return Constraints(
        labels,
        np.minimum(floors, sizes),
        balance == "proportional",
        np.ascontiguousarray(protected, dtype=np.uint8),
    )


def at_least(value: Any, least: int, name: str) -> int:
    """Return an integer argument, or raise an error that names it."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, found {type(value).__name__}") from None
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, found bool")
    if number < least:
        raise ValueError(f"{name} must be at least {least}, found {number}")
    return number
