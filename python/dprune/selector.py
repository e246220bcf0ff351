"""The kept sets of a comparison: each made once and filed.

A few networks are trained on the whole set; their features, trajectories and influence rows are
what every method selects by. "dprune" is Eq. 4 with proportional class quotas and the ``reweight``
that retrains best on a validation part of the *training* data; test data chooses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from joblib import delayed

from dprune import scores, train
from dprune._resume import Progress
from dprune.backend import cuda_devices
from dprune.choose import choose_reweight
from dprune.data import ImageData
from dprune.head import LastLayer
from dprune.plan import FIXED, OURS, PER_SEED, QUOTAS, Plan
from dprune.result import PruneResult, load
from dprune.retraining import Indices, in_workers, train_and_test, trained
from dprune.selection import BASELINES, Sources
from dprune.solve import prune
from dprune.trajectory import Trajectory

# Subsets that only serve the choice of reweight need not be polished.
_CHOICE_SWEEPS = 400


class Selector:
    """What each method keeps.

    Parameters
    ----------
    data : ImageData
    plan : Plan
        Its network selects; see :attr:`Plan.source`.
    folder : Path
        ``sources.npz``, ``trajectory-<k>.npz``, ``selections.json`` and, in ``selections``, a
        :class:`dprune.PruneResult` each. What is there is not made again.
    say : callable
        Told, in a line each, what is going on.

    Raises
    ------
    ValueError
        If the folder holds selections of other data or settings.
    """

    def __init__(
        self, data: ImageData, plan: Plan, folder: Path, say: Callable[[str], None]
    ) -> None:
        self.data, self.plan, self.folder, self.say = data, plan, folder, say
        self.n = len(data.labels)
        (folder / "selections").mkdir(parents=True, exist_ok=True)
        self._progress = Progress(
            folder / "selections.json",
            {"data": data.name, "fingerprint": data.fingerprint, **plan.identity()},
            {"selections": {}, "sources": []},
        )

    @property
    def source_runs(self) -> list[dict[str, float]]:
        """Test accuracy and seconds of each source network."""
        runs: list[dict[str, float]] = self._progress.state["sources"]
        return runs

    @cached_property
    def sources(self) -> Sources:
        """Networks trained on everything, once."""
        path = self.folder / "sources.npz"
        files = [self.folder / f"trajectory-{k}.npz" for k in range(self.plan.sources)]
        if not (path.is_file() and all(file.is_file() for file in files)):
            self._train_sources(path, files)
        with np.load(path) as kept:
            decay = self.plan.recipe.weight_decay
            return Sources(
                kept["features"],
                self.data.labels,
                [Trajectory.load(file) for file in files],
                decay if self.plan.head_decay is None else self.plan.head_decay,
                self.plan.rows,
                kept["theta"],
                self._rows_device(),
            )

    def _rows_device(self) -> str | None:
        """The GPU that trains, where dprune was built for it; LiSSA is for the CPU alone."""
        if self.plan.device != "cuda" or self.plan.rows == "lissa":
            return None
        if not cuda_devices():
            self.say("rows and their pruning stay on the CPU: dprune finds no CUDA device")
            return None
        return "cuda"

    def _train_sources(self, path: Path, files: list[Path]) -> None:
        everything = np.arange(self.n)
        runs = []
        for k, file in enumerate(files):
            start = time.perf_counter()
            recorder = train.Recorder((self.plan.snapshot,))
            model = trained(self.data, self.plan, everything, k, self.folder, recorder)
            seconds = time.perf_counter() - start
            recorder.trajectory(k).save(file)
            if k == 0:
                head = LastLayer.from_torch(
                    model, train.ImageDataset(self.data.images, self.data.labels), refit=False
                )
                np.savez(path, features=head.features, theta=head.theta)
            accuracy = train.accuracy(model, self.data.test_images, self.data.test_labels)
            runs.append({"accuracy": accuracy, "seconds": seconds})
            self.say(f"source {k}: test accuracy {accuracy:.4f}")
        self._progress.state["sources"] = runs
        self._progress.write()

    def about(self, method: str, ratio: float) -> dict[str, Any]:
        """Seconds, class counts and choice of a selection; the first seed's."""
        name = _name(method, ratio, 0)
        about: dict[str, Any] = self._progress.state["selections"][name]
        return about

    def kept(self, method: str, ratio: float, seed: int) -> Indices:
        """The kept set of a method; made once and filed."""
        name = _name(method, ratio, seed)
        path = self.folder / "selections" / f"{name}.npz"
        selections = self._progress.state["selections"]
        if name in selections and path.is_file():
            return load(path).kept
        m = round(ratio * self.n)
        sources = self.sources
        start = time.perf_counter()
        notes: dict[str, Any] = {}
        if method == OURS:
            result, notes = self._chosen(m, ratio)
        elif method.startswith(FIXED):
            result = self._optimised(m, float(method.removeprefix(FIXED)))
        else:
            base = method.removesuffix(QUOTAS)
            score = (
                scores.random(self.n, seed)
                if method in PER_SEED
                else BASELINES[base](sources, ratio)
            )
            quotas = base != method
            result = scores.prune_scores(
                score,
                m=m,
                groups=sources.labels if quotas else None,
                balance="proportional" if quotas else None,
            )
        result.save(path)
        selections[name] = {
            "method": method,
            "ratio": ratio,
            "seconds": time.perf_counter() - start,
            "class_counts": np.bincount(
                sources.labels[result.kept], minlength=self.data.classes
            ).tolist(),
            **notes,
        }
        self._progress.write()
        return result.kept

    def _chosen(self, m: int, ratio: float) -> tuple[PruneResult, dict[str, Any]]:
        """Eq. 4 with the c that retrains best on the validation part."""

        def judge(kept: Indices, validation: Indices) -> float:
            held_out = self.data.images[validation], self.data.labels[validation]
            tasks = [
                delayed(train_and_test)(self.data, self.plan, kept, 1000 + k, self.folder, held_out)
                for k in range(self.plan.choice_runs)
            ]
            return float(np.mean([run["accuracy"] for run in in_workers(self.plan, tasks)]))

        choice = choose_reweight(
            self.sources.rows,
            self.data.labels,
            m,
            judge,
            self.plan.candidates,
            validation=self.plan.validation,
            holdouts=self.plan.holdouts,
            holdout_groups=self.data.groups,
            sweeps=_CHOICE_SWEEPS,
        )
        shown = ", ".join(f"c={c:g} {score:.4f}" for c, score in choice.scores.items())
        self.say(f"{ratio:.0%} removed, validation: {shown}")
        notes = {
            "reweight": choice.reweight,
            "validation": {f"{c:g}": score for c, score in choice.scores.items()},
        }
        return self._optimised(m, choice.reweight), notes

    def _optimised(self, m: int, reweight: float) -> PruneResult:
        return prune(
            self.sources.rows,
            m=m,
            reweight=reweight,
            groups=self.data.labels,
            balance="proportional",
        )


def _name(method: str, ratio: float, seed: int) -> str:
    return f"{method}-{ratio:g}" + (f"-{seed}" if method in PER_SEED else "")
