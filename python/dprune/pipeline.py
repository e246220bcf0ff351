"""Algorithm 1 of the paper in one call: head, influence, pruning, refit check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dprune.certify import RefitCheck, refit_check
from dprune.head import LastLayer
from dprune.influence import influence
from dprune.influence_rows import InfluenceRows
from dprune.result import PruneResult
from dprune.solve import prune

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PrunedDataset:
    """All that Algorithm 1 made on its way.

    Attributes
    ----------
    dataset : torch.utils.data.Subset
        The kept samples.
    result : PruneResult
    check : RefitCheck
    rows : InfluenceRows
    head : LastLayer
    """

    dataset: Any
    result: PruneResult
    check: RefitCheck
    rows: InfluenceRows
    head: LastLayer


def prune_dataset(
    model: torch.nn.Module,
    dataset: torch.utils.data.Dataset[Any],
    eps: float | None = None,
    *,
    weight_decay: float = 5e-4,
    layer: torch.nn.Linear | str | None = None,
    balance: str | None = None,
    min_keep: int = 0,
    **prune_settings: Any,
) -> PrunedDataset:
    """Prune a torch data set with a trained model (paper, Algorithm 1).

    Parameters
    ----------
    model : torch.nn.Module
        Trained on the data set; its last Linear is used.
    dataset : torch.utils.data.Dataset
        Map-style, yielding ``(input, label)`` without random augmentation.
    eps : float, optional
        Eq. 3; or pass ``m`` or ``fraction`` for Eq. 4.
    weight_decay : float, default 5e-4
        As in training.
    layer : Linear or str, optional
        See :meth:`LastLayer.from_torch`.
    balance, min_keep
        As in :func:`dprune.prune`; the groups are the classes.
    **prune_settings
        Passed on to :func:`dprune.prune`; ``device="cuda"`` makes the rows there, too.

    Examples
    --------
    >>> pruned = dprune.prune_dataset(model, dataset, fraction=0.5, reweight=1)  # doctest: +SKIP
    >>> loader = DataLoader(pruned.dataset, shuffle=True)  # doctest: +SKIP
    """
    head = LastLayer.from_torch(model, dataset, weight_decay, layer)
    rows = influence(head, device=prune_settings.get("device"))
    result = prune(
        rows, eps, groups=head.labels, balance=balance, min_keep=min_keep, **prune_settings
    )
    check = refit_check(head, result.kept)
    return PrunedDataset(result.subset(dataset), result, check, rows, head)
