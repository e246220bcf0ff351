"""dprune: which training samples can go, and what that costs."""

from importlib.metadata import version as _version

__version__ = _version("dprune")

from dprune import scores
from dprune.bfloat16 import BFloat16Rows
from dprune.certify import RefitCheck, refit_check
from dprune.choose import ReweightChoice, choose_reweight
from dprune.curve import Curve, curve
from dprune.factored import FactoredRows
from dprune.gradients import last_layer_gradients
from dprune.guarantee import PrunedHead, prune_head
from dprune.head import LastLayer
from dprune.influence import influence
from dprune.influence_rows import InfluenceRows
from dprune.pipeline import PrunedDataset, prune_dataset
from dprune.result import PruneResult, Status, load
from dprune.rowfile import open_rows, save_rows
from dprune.scores import prune_scores
from dprune.solve import Progress, prune
from dprune.trajectory import Trajectory

__all__ = [
    "BFloat16Rows",
    "Curve",
    "FactoredRows",
    "InfluenceRows",
    "LastLayer",
    "Progress",
    "PruneResult",
    "PrunedDataset",
    "PrunedHead",
    "RefitCheck",
    "ReweightChoice",
    "Status",
    "Trajectory",
    "choose_reweight",
    "curve",
    "influence",
    "last_layer_gradients",
    "load",
    "open_rows",
    "prune",
    "prune_dataset",
    "prune_head",
    "prune_scores",
    "refit_check",
    "save_rows",
    "scores",
]
