"""Methods beside each other: select, retrain from scratch, test; resumable.

A few networks are trained on the whole set; their features, trajectories and influence rows are
what every method selects by. Each method's kept set then trains new networks, one a seed. "dprune"
is Eq. 4 with proportional class quotas and the ``reweight`` that retrains best on a validation
part of the *training* data; test data chooses nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from joblib import Parallel, delayed

from dprune import models, scores, train
from dprune.choose import choose_reweight
from dprune.compare_table import add_differences, markdown, summary
from dprune.data import ImageData
from dprune.head import LastLayer
from dprune.plan import FIXED, OURS, PER_SEED, QUOTAS, Plan
from dprune.result import PruneResult, load, write_beside
from dprune.selection import BASELINES, Sources
from dprune.solve import prune
from dprune.trajectory import Trajectory

Indices = npt.NDArray[np.int64]

WHOLE = "whole set"
# Subsets that only serve the choice of reweight need not be polished.
_CHOICE_SWEEPS = 400


def compare(
    data: ImageData, plan: Plan, out: Path, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Run what is not yet done of a plan and return the report.

    Parameters
    ----------
    data : ImageData
    plan : Plan
    out : Path
        The folder: ``progress.json``, written after every training; ``results.json`` and
        ``results.md`` at the end; the selections as :class:`dprune.PruneResult` files. A second
        call goes on where the first was stopped, and may add methods, ratios and seeds.
    say : callable, optional
        Told, in a line each, what is going on.

    Raises
    ------
    ValueError
        If the folder holds results of other data or settings.
    """
    work = _Comparison(data, plan, out, say)
    work.run()
    report = work.report()
    write_beside(out / "results.json", json.dumps(report, indent=1).encode())
    write_beside(out / "results.md", markdown(report).encode())
    return report


class _Comparison:
    """One folder's state and what is done to it."""

    def __init__(self, data: ImageData, plan: Plan, out: Path, say: Callable[[str], None]) -> None:
        self.data, self.plan, self.out, self.say = data, plan, out, say
        self.n = len(data.labels)
        identity = {"data": data.name, "fingerprint": data.fingerprint, **plan.identity()}
        path = out / "progress.json"
        self.state: dict[str, Any] = {"identity": identity, "selections": {}, "runs": {}}
        if path.is_file():
            self.state = json.loads(path.read_text())
            found = self.state["identity"]
            other = [k for k in identity if found.get(k) != identity[k]]
            if other:
                raise ValueError(
                    f"out must be empty or hold results of the same plan; {other[0]} is "
                    f"{found.get(other[0])!r} in {out}, expected {identity[other[0]]!r}"
                )
        (out / "selections").mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        """Sources, the whole set, then ratio by ratio: select, retrain."""
        _ = self.sources
        everything = np.arange(self.n)
        self._retrain([(everything, seed, WHOLE) for seed in range(self.plan.seeds)])
        for ratio in self.plan.ratios:
            self._retrain(
                [
                    (self._kept(method, ratio, seed), seed, f"{ratio:.0%} removed, {method}")
                    for method in self.plan.methods
                    for seed in range(self.plan.seeds)
                ]
            )

    @cached_property
    def sources(self) -> Sources:
        """Networks trained on everything, once."""
        path = self.out / "sources.npz"
        files = [self.out / f"trajectory-{k}.npz" for k in range(self.plan.sources)]
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
            )

    def _train_sources(self, path: Path, files: list[Path]) -> None:
        seconds = []
        for k, file in enumerate(files):
            start = time.perf_counter()
            recorder = train.Recorder((self.plan.snapshot,))
            model = self._source_trained(np.arange(self.n), k, recorder)
            seconds.append(time.perf_counter() - start)
            recorder.trajectory(k).save(file)
            if k == 0:
                head = LastLayer.from_torch(
                    model, train.ImageDataset(self.data.images, self.data.labels), refit=False
                )
                np.savez(path, features=head.features, theta=head.theta)
            accuracy = train.accuracy(model, self.data.test_images, self.data.test_labels)
            if self.plan.source == self.plan:  # a run on the whole set like any other
                run = {"accuracy": accuracy, "seconds": seconds[-1]}
                self.state["runs"][_run_key(np.arange(self.n), k)] = run
            self.say(f"source {k}: test accuracy {accuracy:.4f}")
            self._write()
        self.state["source_seconds"] = seconds
        self._write()

    def _kept(self, method: str, ratio: float, seed: int) -> Indices:
        """The kept set of a method; made once and filed."""
        per_seed = method in PER_SEED
        name = f"{method}-{ratio:g}" + (f"-{seed}" if per_seed else "")
        path = self.out / "selections" / f"{name}.npz"
        if name in self.state["selections"] and path.is_file():
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
            score = scores.random(self.n, seed) if per_seed else BASELINES[base](sources, ratio)
            quotas = base != method
            result = scores.prune_scores(
                score,
                m=m,
                groups=sources.labels if quotas else None,
                balance="proportional" if quotas else None,
            )
        result.save(path)
        self.state["selections"][name] = {
            "method": method,
            "ratio": ratio,
            "seconds": time.perf_counter() - start,
            "class_counts": np.bincount(
                sources.labels[result.kept], minlength=self.data.classes
            ).tolist(),
            **notes,
        }
        self._write()
        return result.kept

    def _chosen(self, m: int, ratio: float) -> tuple[PruneResult, dict[str, Any]]:
        """Eq. 4 with the c that retrains best on the validation part."""

        def judge(kept: Indices, validation: Indices) -> float:
            held_out = self.data.images[validation], self.data.labels[validation]
            tasks = [
                delayed(_train_and_test)(
                    self.data, self.plan.source, kept, 1000 + k, self.out, held_out
                )
                for k in range(self.plan.choice_runs)
            ]
            return float(np.mean([run["accuracy"] for run in self._pool(tasks)]))

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

    def _retrain(self, wanted: list[tuple[Indices, int, str]]) -> None:
        """Train and test what has not been yet; every result is filed as it comes."""
        runs = self.state["runs"]
        missing = {
            key: (kept, seed, title)
            for kept, seed, title in wanted
            if (key := _run_key(kept, seed)) not in runs
        }
        test = self.data.test_images, self.data.test_labels
        tasks = [
            delayed(_train_and_test)(self.data, self.plan, kept, seed, self.out, test)
            for kept, seed, _ in missing.values()
        ]
        for (key, (_, seed, title)), run in zip(missing.items(), self._pool(tasks), strict=True):
            runs[key] = run
            self._write()
            self.say(f"{title}, seed {seed}: {run['accuracy']:.4f} ({run['seconds']:.0f} s)")

    def _pool(self, tasks: list[Any]) -> Iterator[dict[str, float]]:
        # Copied on write: PyTorch warns of arrays that must not be written.
        pool = Parallel(self.plan.jobs, return_as="generator", mmap_mode="c")
        runs: Iterator[dict[str, float]] = pool(tasks)
        return runs

    def _source_trained(
        self, kept: Indices, seed: int, recorder: train.Recorder | None = None
    ) -> Any:
        return _trained(self.data, self.plan.source, kept, seed, self.out, recorder)

    def _write(self) -> None:
        write_beside(self.out / "progress.json", json.dumps(self.state, indent=1).encode())

    def report(self) -> dict[str, Any]:
        """Means, spreads and paired differences of all that the plan names."""
        plan, seeds = self.plan, range(self.plan.seeds)
        whole = [self.state["runs"][_run_key(np.arange(self.n), s)] for s in seeds]
        cells = []
        for ratio in plan.ratios:
            for method in plan.methods:
                runs = [
                    self.state["runs"][_run_key(self._kept(method, ratio, s), s)] for s in seeds
                ]
                name = f"{method}-{ratio:g}" + ("-0" if method in PER_SEED else "")
                selection = self.state["selections"][name]
                cells.append(
                    {
                        "method": method,
                        "ratio": ratio,
                        "accuracies": [run["accuracy"] for run in runs],
                        "training_seconds": float(np.mean([run["seconds"] for run in runs])),
                        "selection_seconds": selection["seconds"],
                        "reweight": selection.get("reweight"),
                        "validation": selection.get("validation"),
                        "class_counts": selection["class_counts"],
                        **summary([run["accuracy"] for run in runs]),
                    }
                )
        if OURS in plan.methods:
            add_differences(cells)
        return {
            "kind": "compare",
            "title": f"Pruning methods on {self.data.name}",
            "n": self.n,
            "test_n": len(self.data.test_labels),
            "classes": self.data.classes,
            "seeds": plan.seeds,
            "identity": self.state["identity"],
            "source_seconds": self.state["source_seconds"],
            "whole": {
                "accuracies": [run["accuracy"] for run in whole],
                "training_seconds": float(np.mean([run["seconds"] for run in whole])),
                **summary([run["accuracy"] for run in whole]),
            },
            "methods": list(plan.methods),
            "ratios": list(plan.ratios),
            "cells": cells,
        }


def _trained(
    data: ImageData,
    plan: Plan,
    kept: Indices,
    seed: int,
    out: Path,
    recorder: train.Recorder | None = None,
) -> Any:
    """A network trained from scratch; a checkpoint stands in ``out`` until it is done."""
    shape = (data.classes, data.channels, data.pixels, plan.width)
    model = models.seeded(seed, models.network, plan.network, *shape)
    checkpoint = out / f"checkpoint-{_run_key(kept, seed).replace('/', '-')}.pt"
    train.fit(
        model,
        data.images[kept],
        data.labels[kept],
        plan.recipe,
        seed,
        device=plan.device,
        recorder=recorder,
        checkpoint=checkpoint,
    )
    checkpoint.unlink()
    return model


def _train_and_test(
    data: ImageData,
    plan: Plan,
    kept: Indices,
    seed: int,
    out: Path,
    test: tuple[npt.NDArray[Any], Indices],
) -> dict[str, float]:
    if plan.jobs > 1:  # in a worker
        torch.set_num_threads(1)
    start = time.perf_counter()
    model = _trained(data, plan, kept, seed, out)
    seconds = time.perf_counter() - start
    return {"accuracy": train.accuracy(model, *test), "seconds": seconds}


def _run_key(kept: Indices, seed: int) -> str:
    return f"{hashlib.sha256(kept.tobytes()).hexdigest()[:16]}/{seed}"
