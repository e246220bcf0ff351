"""The demo: train, prune, check and retrain on scikit-learn's digits, from start to report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from torch.utils.data import TensorDataset

from dprune import train
from dprune.certify import RefitCheck, refit_check
from dprune.choose import choose_reweight
from dprune.data import ImageData, digits
from dprune.head import LastLayer
from dprune.influence import InfluenceRows, influence
from dprune.models import SmallCNN, seeded
from dprune.report import write_report
from dprune.result import PruneResult, write_beside
from dprune.solve import prune

FRACTIONS = (0.5, 0.8, 0.9)
CANDIDATES = (0.0, 0.5, 1.0)
SEEDS = (0, 1, 2)
RECIPE = train.Recipe()
# Eq. 3's budget: this share of the change that leaving out a random half causes.
EPS_SHARE = 0.5
# Trainings per candidate when reweight is chosen: one accuracy on a small hold-out is noisy.
CHOICE_SEEDS = (10, 11, 12)
VALIDATION = 0.2
# Nine subsets that only serve the choice need not be polished.
CHOICE_SWEEPS = 4000

Indices = npt.NDArray[np.int64]


def run(out: Path, console: Console) -> dict[str, Any]:
    """Run the demo and write its folder: results, artefacts and ``report.html``.

    Parameters
    ----------
    out : Path
        The folder; made if it is not there.
    console : rich.console.Console

    Returns
    -------
    dict
        What is in ``results.json``.
    """
    start = time.perf_counter()
    torch.set_num_threads(1)  # the network is so small that a second thread only waits
    out.mkdir(parents=True, exist_ok=True)
    data = digits()
    n = len(data.labels)
    console.print(
        f"[bold]digits[/]: {n} training images, {len(data.test_labels)} test images, "
        f"{data.classes} classes"
    )
    runs: list[dict[str, Any]] = []
    with _bars(console) as bars:
        full = _Retrainer(data, bars, "training on everything")
        accuracies = full(np.arange(n))
        model = full.models[0]
        head = LastLayer.from_torch(
            model, TensorDataset(*map(torch.from_numpy, (data.images, data.labels)))
        )
        rows = influence(head)
        test = LastLayer.from_torch(
            model,
            TensorDataset(*map(torch.from_numpy, (data.test_images, data.test_labels))),
            refit=False,
        )
        runs.append(_entry("whole set", 0, head, None, None, accuracies))

        results: dict[float, PruneResult] = {}
        for fraction in FRACTIONS:
            m = round(fraction * n)
            choice = choose_reweight(
                rows,
                head.labels,
                m,
                _Chooser(data, bars, fraction),
                CANDIDATES,
                validation=VALIDATION,
                sweeps=CHOICE_SWEEPS,
            )
            for c in CANDIDATES:
                result = prune(rows, m=m, reweight=c, groups=head.labels, balance="proportional")
                check = refit_check(head, result.kept, (test.features, test.labels))
                retrain = _Retrainer(data, bars, f"{fraction:.0%} removed, reweight {c:g}")
                entry = _entry("dprune", m, head, result, check, retrain(result.kept))
                entry["chosen"] = c == choice.reweight
                entry["validation"] = choice.scores[c]
                runs.append(entry)
                if entry["chosen"]:
                    results[fraction] = result
                    result.save(out / f"removed-{fraction:.0%}.npz")
            runs.append(_random_entry(head, m, data, bars, test))

        half = results[FRACTIONS[0]].settings["m"]
        eps = EPS_SHARE * refit_check(head, _random_kept(n, half, 0), draws=0).change
        result = prune(rows, eps, reweight=1.0, groups=head.labels, balance="proportional")
        result.save(out / "within-eps.npz")
        check = refit_check(head, result.kept, (test.features, test.labels))
        retrain = _Retrainer(data, bars, f"Eq. 3, eps {eps:.3g}")
        runs.append(
            _entry("dprune, eps", len(result.removed), head, result, check, retrain(result.kept))
        )
        runs.append(_random_entry(head, len(result.removed), data, bars, test))

    report = {
        "title": "dprune on scikit-learn's digits",
        "n": n,
        "test_n": len(data.test_labels),
        "recipe": vars(RECIPE),
        "seeds": list(SEEDS),
        "seconds": time.perf_counter() - start,
        "parameters": rows.shape[1],
        "fingerprint": head.fingerprint,
        "eps": eps,
        "runs": runs,
        "images": _extreme_images(data, rows),
    }
    write_beside(out / "results.json", json.dumps(report, indent=1).encode())
    write_report(out)
    console.print(table(report))
    console.print(
        f"{report['seconds']:.0f} s. Report: [bold]{out / 'report.html'}[/], "
        f"kept and removed indices: {out}/*.npz (dprune.load)"
    )
    return report


def table(report: dict[str, Any]) -> Table:
    """The demo's results as a table for the terminal."""
    view = Table(
        title=f"Test accuracy after retraining from scratch, {len(SEEDS)} seeds",
        caption="change of the last layer, measured by refit and predicted by influence",
    )
    view.add_column("removed", justify="right", no_wrap=True)
    view.add_column("subset", no_wrap=True)
    for column in ("accuracy", "change", "predicted"):
        view.add_column(column, justify="right", no_wrap=True)
    previous = 0
    for entry in report["runs"]:
        if entry["removed"] != previous:
            view.add_section()
            previous = entry["removed"]
        name = entry["name"]
        if name == "dprune":
            name += f", reweight {entry['reweight']:g}" + (" (chosen)" if entry["chosen"] else "")
        picked = entry.get("chosen") or entry["name"] == "dprune, eps"
        view.add_row(
            f"{entry['removed'] / report['n']:.1%}",
            name,
            f"{entry['mean']:.3f} ± {entry['spread']:.3f}",
            "" if entry["change"] is None else f"{entry['change']:.3f}",
            "" if entry["predicted"] is None else f"{entry['predicted']:.3f}",
            style="bold" if picked else None,
        )
    return view


class _Retrainer:
    """Trains the demo's network from scratch on a subset, once a seed, and scores it."""

    def __init__(self, data: ImageData, bars: Progress, title: str) -> None:
        self.data = data
        self.bars = bars
        self.title = title
        self.models: list[torch.nn.Module] = []

    def __call__(self, kept: Indices) -> list[float]:
        task: TaskID = self.bars.add_task(self.title, total=len(SEEDS))
        scores = []
        for seed in SEEDS:
            model = _trained(self.data, kept, seed)
            self.models.append(model)
            scores.append(train.accuracy(model, self.data.test_images, self.data.test_labels))
            self.bars.advance(task)
        return scores


class _Chooser:
    """The training callable of choose_reweight: mean accuracy on the hold-out."""

    def __init__(self, data: ImageData, bars: Progress, fraction: float) -> None:
        self.data = data
        self.bars = bars
        self.task = bars.add_task(
            f"{fraction:.0%} removed, choosing reweight", total=len(CANDIDATES)
        )

    def __call__(self, kept: Indices, validation: Indices) -> float:
        scores = [
            train.accuracy(
                _trained(self.data, kept, seed),
                self.data.images[validation],
                self.data.labels[validation],
            )
            for seed in CHOICE_SEEDS
        ]
        self.bars.advance(self.task)
        return float(np.mean(scores))


def _trained(data: ImageData, kept: Indices, seed: int) -> torch.nn.Module:
    model = seeded(seed, SmallCNN, data.classes)
    return train.fit(model, data.images[kept], data.labels[kept], RECIPE, seed)


def _random_kept(n: int, m: int, seed: int) -> Indices:
    return np.sort(np.random.default_rng(seed).choice(n, n - m, replace=False))


def _random_entry(
    head: LastLayer, m: int, data: ImageData, bars: Progress, test: LastLayer
) -> dict[str, Any]:
    """Another random subset for every seed."""
    task = bars.add_task(f"{m / head.n:.0%} removed at random", total=len(SEEDS))
    scores = []
    for seed in SEEDS:
        model = _trained(data, _random_kept(head.n, m, seed), seed)
        scores.append(train.accuracy(model, data.test_images, data.test_labels))
        bars.advance(task)
    kept = _random_kept(head.n, m, SEEDS[0])
    check = refit_check(head, kept, (test.features, test.labels))
    entry = _entry("random", m, head, None, check, scores)
    entry["class_counts"] = np.bincount(head.labels[kept], minlength=head.classes).tolist()
    return entry


def _entry(
    name: str,
    m: int,
    head: LastLayer,
    result: PruneResult | None,
    check: RefitCheck | None,
    accuracies: list[float],
) -> dict[str, Any]:
    kept = np.arange(head.n) if result is None else result.kept
    return {
        "name": name,
        "removed": m,
        "reweight": None if result is None else result.settings["reweight"],
        "accuracies": accuracies,
        "mean": float(np.mean(accuracies)),
        "spread": float(np.std(accuracies, ddof=1)),
        "change": None if check is None else check.change,
        "predicted": None if check is None else check.predicted,
        "test_gap": None if check is None else check.test_gap,
        "first_order_bound": None if check is None else check.first_order_bound,
        "bound": None if check is None else check.bound,
        "norm": None if result is None else result.norm,
        "random_norm": None if result is None else result.random_norm,
        "status": None if result is None else str(result.status),
        "solver_seconds": None if result is None else result.seconds,
        "class_counts": np.bincount(head.labels[kept], minlength=head.classes).tolist(),
    }


def _extreme_images(data: ImageData, rows: InfluenceRows, count: int = 12) -> dict[str, Any]:
    """The samples that move the head most and least."""
    norms = np.linalg.norm(rows.rows, axis=1)
    order = np.argsort(norms)

    def describe(indices: Indices) -> list[dict[str, Any]]:
        return [
            {
                "index": int(i),
                "label": int(data.labels[i]),
                "influence": float(norms[i]),
                "pixels": data.images[i, 0].tolist(),
            }
            for i in indices
        ]

    return {"most": describe(order[::-1][:count]), "least": describe(order[:count])}


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<36}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
