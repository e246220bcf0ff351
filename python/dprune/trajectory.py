"""What a training run tells about each sample: the raw material of forgetting, EL2N and GraNd."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dprune.result import write_beside


@dataclass(frozen=True)
class Trajectory:
    """One training run, sample by sample. :func:`dprune.train.fit` records it.

    Attributes
    ----------
    correct : (epochs, n) bool
        Whether the sample was classified right when it was last seen in that epoch, in the
        training batches themselves (Toneva et al.), not in a pass of its own.
    snapshots : tuple of int
        After how many epochs the norms below were measured, in evaluation mode.
    error_norms : (len(snapshots), n) float32
        ``||p_i - y_i||``.
    gradient_norms : (len(snapshots), n) float32
        Norm of the loss gradient in the last layer, ``||p_i - y_i|| ||[h_i, 1]||``.
    seed : int
        Of the run.
    """

    correct: npt.NDArray[np.bool_]
    snapshots: tuple[int, ...]
    error_norms: npt.NDArray[np.float32]
    gradient_norms: npt.NDArray[np.float32]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.correct.ndim != 2 or self.correct.dtype != np.bool_:
            raise ValueError(
                "correct must be a bool array of shape (epochs, n), found "
                f"{self.correct.dtype} {self.correct.shape}"
            )
        expected = (len(self.snapshots), self.n)
        for name in ("error_norms", "gradient_norms"):
            if getattr(self, name).shape != expected:
                raise ValueError(
                    f"{name} must have shape {expected}, found {getattr(self, name).shape}"
                )

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.correct.shape[1])

    def at(self, epoch: int | None) -> int:
        """Which snapshot was taken after that epoch; None: the first."""
        if not self.snapshots:
            raise ValueError("the trajectory must have a snapshot, found none")
        if epoch is None:
            return 0
        if epoch not in self.snapshots:
            raise ValueError(f"epoch must be one of {self.snapshots}, found {epoch}")
        return self.snapshots.index(epoch)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one ``.npz`` file, no pickle."""
        header = {"snapshots": list(self.snapshots), "seed": self.seed}
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
            correct=self.correct,
            error_norms=self.error_norms,
            gradient_norms=self.gradient_norms,
        )
        write_beside(Path(path), buffer.getvalue())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trajectory:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            header = json.loads(data["header"].tobytes())
            return cls(
                data["correct"],
                tuple(header["snapshots"]),
                data["error_norms"],
                data["gradient_norms"],
                header["seed"],
            )
