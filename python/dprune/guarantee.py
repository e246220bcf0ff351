"""Eq. 3 with the measured change of the head, not only the predicted one, within eps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from dprune.certify import RefitCheck, refit_check
from dprune.head import LastLayer
from dprune.influence import influence
from dprune.result import PruneResult
from dprune.solve import prune

_ROUNDS = 12
# The next eps is set so that, at the same ratio of measured to predicted, this share is used.
_AIM = 0.98


@dataclass(frozen=True)
class PrunedHead:
    """What :func:`prune_head` found.

    Attributes
    ----------
    result : PruneResult
        Its ``norm`` is the predicted change; ``settings["eps"]`` is the eps it was solved for.
    check : RefitCheck
        ``check.change`` is the measured change.
    eps : float
        As asked for.
    rounds : int
        Solves that were needed.
    """

    result: PruneResult
    check: RefitCheck
    eps: float
    rounds: int


def prune_head(
    head: LastLayer,
    eps: float,
    *,
    verify: bool = True,
    reweight: float = 1.0,
    test: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    **prune_settings: Any,
) -> PrunedHead:
    """Remove as many samples as possible with ``||theta_kept - theta|| <= eps``.

    theta_kept minimises the mean loss of the kept samples (the paper's Definition 1). Eq. 3 is
    solved with the first-order prediction; the head is then refitted, and as long as the measured
    change exceeds ``eps``, Eq. 3 is solved again for a smaller one.

    Parameters
    ----------
    head : LastLayer
    eps : float
        Largest allowed change, > 0.
    verify : bool, default True
        Tighten until the measured change is within eps; False: measure once, whatever it is.
    reweight : float, default 1
        See :func:`dprune.prune`; 1 predicts the change of Definition 1.
    test : (features, labels), optional
        Passed on to :func:`dprune.refit_check`.
    **prune_settings
        Passed on to :func:`dprune.prune`.

    Returns
    -------
    PrunedHead

    Raises
    ------
    ValueError
        If ``eps`` is not positive.
    RuntimeError
        If no subset within eps was found in twelve rounds.
    """
    if not eps > 0.0:
        raise ValueError(f"eps must be positive, found {eps}")
    rows = influence(head)
    solved = float(eps)
    for rounds in range(1, _ROUNDS + 1):
        result = prune(rows, solved, reweight=reweight, **prune_settings)
        check = refit_check(head, result.kept, draws=0)
        if check.change <= eps or not verify:
            return PrunedHead(result, refit_check(head, result.kept, test), float(eps), rounds)
        solved *= _AIM * eps / check.change
    raise RuntimeError(
        f"no subset with a measured change within eps={eps:g} in {_ROUNDS} rounds: the last, for "
        f"eps={solved:.3g}, changed the head by {check.change:.3g}"
    )
