"""Methods beside each other: select, retrain from scratch, test; resumable.

A few networks are trained on the whole set; their features, trajectories and influence rows are
what every method selects by. Each method's kept set then trains new networks, one a seed. "dprune"
is Eq. 4 with proportional class quotas and the ``reweight`` that retrains best on a validation
part of the *training* data; test data chooses nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.stats
import torch
from joblib import Parallel, delayed

from dprune import models, scores, train
from dprune.choose import choose_reweight
from dprune.data import ImageData
from dprune.head import LastLayer
from dprune.influence import influence
from dprune.influence_rows import InfluenceRows
from dprune.result import PruneResult, load, write_beside
from dprune.solve import prune
from dprune.trajectory import Trajectory

Indices = npt.NDArray[np.int64]

QUOTAS = "+quotas"
FIXED = "dprune@"
WHOLE = "whole set"
# A baseline whose runs use another subset for every seed.
_PER_SEED = ("random", "random" + QUOTAS)
_SELECTION_EPOCH_SHARE = 0.1
_SIGNIFICANT = 0.05


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
        Trainings per candidate.
    validation : float
        Share of the training data that judges candidates.
    head_decay : float or None
        Weight decay of the head's Hessian; None: the recipe's.
    device : str
    jobs : int
        Worker processes for the retrainings.
    """

    methods: tuple[str, ...] = ("random", "random+quotas", "el2n", "forgetting", "dprune")
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
        for name in ("seeds", "sources", "choice_runs", "jobs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")

    @property
    def snapshot(self) -> int:
        """The early epoch of EL2N and GraNd."""
        return max(1, round(_SELECTION_EPOCH_SHARE * self.recipe.epochs))

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

    def identity(self) -> dict[str, Any]:
        """What must agree for results to be of one experiment, as JSON keeps it."""
        settings = dataclasses.asdict(self)
        for name in ("methods", "ratios", "seeds", "device", "jobs"):
            del settings[name]
        identity: dict[str, Any] = json.loads(json.dumps(settings))
        return identity


@dataclass(frozen=True)
class Sources:
    """What the methods select by."""

    features: npt.NDArray[Any]
    labels: Indices
    trajectories: list[Trajectory]
    head_decay: float
    method: str
    theta: npt.NDArray[np.float64] = field(repr=False)

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
        """Influence of every sample."""
        return influence(self.head, self.method)


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
            accuracy = _tested(self.data, model)
            if self.plan.source == self.plan:  # a run on the whole set like any other
                run = {"accuracy": accuracy, "seconds": seconds[-1]}
                self.state["runs"][_run_key(np.arange(self.n), k)] = run
            self.say(f"source {k}: test accuracy {accuracy:.4f}")
            self._write()
        self.state["source_seconds"] = seconds
        self._write()

    def _kept(self, method: str, ratio: float, seed: int) -> Indices:
        """The kept set of a method; made once and filed."""
        per_seed = method in _PER_SEED
        name = f"{method}-{ratio:g}" + (f"-{seed}" if per_seed else "")
        path = self.out / "selections" / f"{name}.npz"
        if name in self.state["selections"] and path.is_file():
            return load(path).kept
        m = round(ratio * self.n)
        sources = self.sources
        start = time.perf_counter()
        notes: dict[str, Any] = {}
        if method == "dprune":
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
            images, labels = self.data.images[validation], self.data.labels[validation]
            runs = [
                train.accuracy(self._source_trained(kept, 1000 + k), images, labels)
                for k in range(self.plan.choice_runs)
            ]
            return float(np.mean(runs))

        choice = choose_reweight(
            self.sources.rows,
            self.data.labels,
            m,
            judge,
            self.plan.candidates,
            validation=self.plan.validation,
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
        tasks = (
            delayed(_train_and_test)(self.data, self.plan, kept, seed, self.out, title)
            for kept, seed, title in missing.values()
        )
        pool = Parallel(n_jobs=self.plan.jobs, return_as="generator_unordered")
        for key, title, run in pool(tasks):
            runs[key] = run
            self._write()
            self.say(f"{title}: {run['accuracy']:.4f} ({run['seconds']:.0f} s)")

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
                name = f"{method}-{ratio:g}" + ("-0" if method in _PER_SEED else "")
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
                        **_summary([run["accuracy"] for run in runs]),
                    }
                )
        if "dprune" in plan.methods:
            _add_differences(cells)
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
                **_summary([run["accuracy"] for run in whole]),
            },
            "methods": list(plan.methods),
            "ratios": list(plan.ratios),
            "cells": cells,
        }


def markdown(report: dict[str, Any]) -> str:
    """The accuracies as a Markdown table: methods down, ratios across; the best in bold."""
    cell = {(entry["method"], entry["ratio"]): entry for entry in report["cells"]}
    whole = report["whole"]
    lines = [
        f"{report['identity']['data']}, n = {report['n']}, {report['classes']} classes, "
        f"{report['seeds']} seeds; whole set {whole['mean']:.4f} ± {whole['spread']:.4f}.",
        "",
        "| removed | " + " | ".join(f"{ratio:.0%}" for ratio in report["ratios"]) + " |",
        "| --- |" + " --- |" * len(report["ratios"]),
    ]
    for method in report["methods"]:
        row = []
        for ratio in report["ratios"]:
            entry = cell[method, ratio]
            best = max(cell[other, ratio]["mean"] for other in report["methods"])
            text = f"{entry['mean']:.4f} ± {entry['spread']:.4f}"
            text = f"**{text}**" if entry["mean"] == best else text
            if method == "dprune":
                text += f" (c = {entry['reweight']:g})"
            elif entry.get("significant"):
                text += " *"
            row.append(text)
        lines.append(f"| {method} | " + " | ".join(row) + " |")
    lines += ["", f"± is the standard deviation over seeds. {note(report)}", ""]
    return "\n".join(lines)


def note(report: dict[str, Any]) -> str:
    """What the stars mean, and what the spread leaves out."""
    return (
        f"* differs from dprune: paired t-test over {report['seeds']} seeds, Benjamini-Hochberg "
        f"over the table, q < {_SIGNIFICANT:g}. Subsets other than random ones are the same for "
        "all seeds, so the spread is that of retraining, not of selecting."
    )


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


def _tested(data: ImageData, model: Any) -> float:
    return train.accuracy(model, data.test_images, data.test_labels)


def _train_and_test(
    data: ImageData, plan: Plan, kept: Indices, seed: int, out: Path, title: str
) -> tuple[str, str, dict[str, float]]:
    if plan.jobs > 1:  # in a worker
        torch.set_num_threads(1)
    start = time.perf_counter()
    model = _trained(data, plan, kept, seed, out)
    seconds = time.perf_counter() - start
    run = {"accuracy": _tested(data, model), "seconds": seconds}
    return _run_key(kept, seed), f"{title}, seed {seed}", run


def _summary(accuracies: list[float]) -> dict[str, float]:
    spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else float("nan")
    return {"mean": float(np.mean(accuracies)), "spread": spread}


def _add_differences(cells: list[dict[str, Any]]) -> None:
    """Paired by seed: dprune minus the other; p by t-test, corrected over the whole table."""
    ours = {cell["ratio"]: cell["accuracies"] for cell in cells if cell["method"] == "dprune"}
    others = [cell for cell in cells if cell["method"] != "dprune"]
    pairs = []
    for cell in others:
        gaps = np.subtract(ours[cell["ratio"]], cell["accuracies"])
        cell["difference"] = float(gaps.mean())
        if len(gaps) > 1:
            cell["standard_error"] = float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
            if gaps.std() > 1e-9:
                pairs.append((cell, float(scipy.stats.ttest_1samp(gaps, 0.0).pvalue)))
    if pairs:
        adjusted = scipy.stats.false_discovery_control([p for _, p in pairs])
        for (cell, p), q in zip(pairs, adjusted, strict=True):
            cell.update(p=p, q=float(q), significant=bool(q < _SIGNIFICANT))


def _check_method(name: str) -> None:
    if name == "dprune":
        return
    if name.startswith(FIXED):
        try:
            if 0.0 <= float(name.removeprefix(FIXED)) <= 1.0:
                return
        except ValueError:
            pass
        raise ValueError(f"methods must give {FIXED} a number in [0, 1], found {name!r}")
    if name.removesuffix(QUOTAS) not in BASELINES:
        known = ", ".join(["dprune", f"{FIXED}c", *BASELINES])
        raise ValueError(f"methods must be among {known} (or with {QUOTAS}), found {name!r}")


def _run_key(kept: Indices, seed: int) -> str:
    return f"{hashlib.sha256(kept.tobytes()).hexdigest()[:16]}/{seed}"
