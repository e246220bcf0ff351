"""What prune() gives back, and the file it can be kept in."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Sized
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_FORMAT = "dprune result"
_FORMAT_VERSION = 1

TRACE = np.dtype(
    [("seconds", "f8"), ("sweep", "i8"), ("norm", "f8"), ("removed", "i8")],
)


class Status(str, Enum):
    """Why a run ended, or what is special about its answer."""

    CONVERGED = "converged"  # the planned sweeps were done
    TIME_LIMIT = "time_limit"
    STOPPED = "stopped"  # a callback asked
    DEGENERATE = "degenerate"  # Eq. 3 would let everything go
    TRIVIAL = "trivial"  # there was nothing to choose

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class PruneResult:
    """A subset to remove and the numbers that say what it costs.

    Attributes
    ----------
    n : int
        Size of the training set.
    removed, kept : int64 arrays
        Sorted sample indices.
    norm : float
        ``change_c = ||W^T (S - c Sbar)|| / (1 - c m/n)``, in float64 from the rows as given: what
        is compared with ``eps``.
    raw_norm : float
        ``||W^T S||``.
    random_norm : float
        Root mean square of ``change_c`` over random subsets of the same size and quotas.
    upper_bound : int
        No subset removes more (Eq. 3); for Eq. 4, m itself.
    exact_norm : float or None
        ``change_c`` through one solve with the head's Hessian, independent of the rows; None for
        a bare matrix.
    exact_norm_residual : float or None
        Relative residual of that solve.
    status : Status
    trace : structured array
        Columns seconds, sweep, norm, removed: each improvement of the best subset.
    seconds : float
        Wall time of the call.
    settings : dict
        All settings, and what they were resolved to.
    fingerprint : str
        SHA-256 of the data set (n, labels, features) or, for a bare matrix, of S; empty where
        there were no rows (:func:`dprune.prune_scores`).
    """

    n: int
    removed: npt.NDArray[np.int64] = field(repr=False)
    kept: npt.NDArray[np.int64] = field(repr=False)
    norm: float
    raw_norm: float
    random_norm: float
    upper_bound: int
    exact_norm: float | None
    exact_norm_residual: float | None
    status: Status
    trace: npt.NDArray[Any] = field(repr=False)
    seconds: float
    settings: dict[str, Any] = field(repr=False)
    fingerprint: str = field(repr=False)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """(n,) bool, True = removed."""
        mask = np.zeros(self.n, dtype=bool)
        mask[self.removed] = True
        return mask

    def subset(self, dataset: Any) -> Any:
        """The kept part of a data set.

        Parameters
        ----------
        dataset : torch data set, array, tuple of arrays, LastLayer or sequence
            The whole training set, in the order the rows came in.

        Returns
        -------
        torch.utils.data.Subset, array, tuple of arrays, refitted LastLayer or list

        Raises
        ------
        ValueError
            If the data set has another length or, where it carries one, another fingerprint.
        """
        if isinstance(dataset, tuple):
            return tuple(self.subset(part) for part in dataset)
        if not isinstance(dataset, Sized) and not hasattr(dataset, "n"):
            raise TypeError(f"dataset must have a length, found {type(dataset).__name__}")
        length = len(dataset) if isinstance(dataset, Sized) else dataset.n
        if length != self.n:
            raise ValueError(f"dataset must have {self.n} samples, found {length}")
        fingerprint = getattr(dataset, "fingerprint", None)
        if fingerprint is not None and self.fingerprint not in ("", fingerprint):
            raise ValueError(
                "dataset must be the one that was pruned: its fingerprint is "
                f"{fingerprint[:12]}..., expected {self.fingerprint[:12]}..."
            )
        if hasattr(dataset, "subset"):
            return dataset.subset(self.kept)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(dataset, torch.utils.data.Dataset):
            return torch.utils.data.Subset(dataset, self.kept.tolist())
        if isinstance(dataset, np.ndarray) or (
            torch is not None and isinstance(dataset, torch.Tensor)
        ):
            return dataset[self.kept]
        return [dataset[i] for i in self.kept.tolist()]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result as one ``.npz`` file: arrays and a JSON header, no pickle.

        The file is written beside its place and renamed, so that a kill leaves the old one whole.
        """
        header = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "n": self.n,
            "norm": self.norm,
            "raw_norm": self.raw_norm,
            "random_norm": self.random_norm,
            "upper_bound": self.upper_bound,
            "exact_norm": self.exact_norm,
            "exact_norm_residual": self.exact_norm_residual,
            "status": self.status.value,
            "seconds": self.seconds,
            "settings": self.settings,
            "fingerprint": self.fingerprint,
        }
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
            removed=self.removed,
            kept=self.kept,
            trace=self.trace,
        )
        write_beside(Path(path), buffer.getvalue())

    def summary(self) -> str:
        """A few lines for people."""
        m = len(self.removed)
        program = "Eq. 3" if self.settings["eps"] is not None else "Eq. 4"
        lines = [
            f"{program}: removed {m} of {self.n} samples ({m / self.n:.1%}), kept {self.n - m}"
        ]
        if math.isnan(self.norm):  # from scores, without rows
            return "\n".join([*lines, f"by scores, seed {self.settings['seed']}"])
        lines += [
            f"change of the head  {self.norm:.6g}   (reweight {self.settings['reweight']:g})",
            f"random, same size   {self.random_norm:.6g}   "
            f"({self.norm / self.random_norm:.1%} of it)"
            if self.random_norm > 0
            else f"random, same size   {self.random_norm:.6g}",
        ]
        if self.settings["eps"] is not None:
            kind = self.settings["upper_bound_kind"]
            lines.append(f"eps                 {self.settings['eps']:.6g}")
            lines.append(f"upper bound         {self.upper_bound} removed ({kind})")
        if self.exact_norm is not None:
            lines.append(
                f"by an exact solve   {self.exact_norm:.6g}   "
                f"(residual {self.exact_norm_residual:.1e})"
            )
        lines.append(f"status {self.status}, {self.seconds:.2f} s, seed {self.settings['seed']}")
        return "\n".join(lines)


def load(path: str | os.PathLike[str]) -> PruneResult:
    """Read a result that :meth:`PruneResult.save` wrote.

    Raises
    ------
    ValueError
        If the file is not such a result, or of a newer format.
    """
    with np.load(path, allow_pickle=False) as data:
        if "header" not in data:
            raise ValueError(f"path must be a {_FORMAT} file, found another .npz: {path}")
        header = json.loads(data["header"].tobytes())
        if header.pop("format", None) != _FORMAT:
            raise ValueError(f"path must be a {_FORMAT} file, found another .npz: {path}")
        version = header.pop("format_version")
        if version != _FORMAT_VERSION:
            raise ValueError(
                f"path must be of format version {_FORMAT_VERSION}, found {version}: {path}"
            )
        header["status"] = Status(header["status"])
        return PruneResult(
            removed=data["removed"], kept=data["kept"], trace=data["trace"], **header
        )


def write_beside(path: Path, content: bytes) -> None:
    """Write a file under another name in its folder and rename it into place."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    temporary.replace(path)
