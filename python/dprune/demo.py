"""The demo: train, prune, check and retrain on scikit-learn's digits, from start to report."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from joblib import Parallel, delayed
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
from dprune.choose import Train, choose_reweight
from dprune.data import ImageData, digits
from dprune.head import LastLayer
from dprune.influence import influence
from dprune.influence_rows import InfluenceRows
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
CHOICE_SWEEPS = 200

# Training processes at once: one a core.
WORKERS = -1

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
    out.mkdir(parents=True, exist_ok=True)
    data = digits()
    n = len(data.labels)
    console.print(
        f"[bold]digits[/]: {n} training images, {len(data.test_labels)} test images, "
        f"{data.classes} classes"
    )
    with _bars(console) as bars, Parallel(n_jobs=WORKERS, return_as="generator") as pool:
        lab = _Lab(data, bars, pool)
        models, accuracies = lab.retrain("training on everything", [np.arange(n)] * len(SEEDS))
        head, test = (
            LastLayer.from_torch(models[0], TensorDataset(*map(torch.from_numpy, part)), refit=fit)
            for part, fit in (
                ((data.images, data.labels), True),
                ((data.test_images, data.test_labels), False),
            )
        )
        rows = influence(head)
        runs = [_entry("whole set", head, None, None, accuracies)]

        def check(kept: Indices, draws: int = 0) -> RefitCheck:
            return refit_check(head, kept, (test.features, test.labels), draws=draws)

        def random_kept(m: int) -> list[Indices]:
            """Another random subset for every seed."""
            draws = [np.random.default_rng(seed).permutation(n) for seed in SEEDS]
            return [np.sort(draw[m:]) for draw in draws]

        for fraction in FRACTIONS:
            m = round(fraction * n)
            choice = choose_reweight(
                rows,
                head.labels,
                m,
                lab.chooser(f"{fraction:.0%} removed: choosing reweight"),
                CANDIDATES,
                validation=VALIDATION,
                holdouts=1,
                sweeps=CHOICE_SWEEPS,
            )
            results = [
                prune(rows, m=m, reweight=c, groups=head.labels, balance="proportional")
                for c in CANDIDATES
            ]
            subsets = [r.kept for r in results for _ in SEEDS] + random_kept(m)
            _, accuracies = lab.retrain(f"{fraction:.0%} removed: retraining", subsets)
            parts = np.split(accuracies, len(CANDIDATES) + 1)
            for c, result, part in zip(CANDIDATES, results, parts[:-1], strict=True):
                entry = _entry("dprune", head, result, check(result.kept), part)
                entry["chosen"] = c == choice.reweight
                entry["validation"] = choice.scores[c]
                runs.append(entry)
                if entry["chosen"]:
                    result.save(out / f"removed-{fraction:.0%}.npz")
            runs.append(_entry("random", head, None, check(subsets[-1]), parts[-1], subsets[-1]))

        eps = EPS_SHARE * check(random_kept(n // 2)[0]).change
        result = prune(rows, eps, reweight=1.0, groups=head.labels, balance="proportional")
        result.save(out / "within-eps.npz")
        subsets = [result.kept] * len(SEEDS) + random_kept(len(result.removed))
        _, accuracies = lab.retrain(f"within eps = {eps:.3g}: retraining", subsets)
        ours, random = np.split(accuracies, 2)
        runs.append(_entry("dprune, eps", head, result, check(result.kept), ours))
        runs.append(_entry("random", head, None, check(subsets[-1]), random, subsets[-1]))

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


class _Lab:
    """Trains the demo's network from scratch, several at once, with a progress bar."""

    def __init__(self, data: ImageData, bars: Progress, pool: Parallel) -> None:
        self.data = data
        self.bars = bars
        self.pool = pool

    def retrain(
        self, title: str, subsets: list[Indices]
    ) -> tuple[list[torch.nn.Module], npt.NDArray[np.float64]]:
        """Train on each subset, seeds in turn; the models and their test accuracies."""
        task = self.bars.add_task(title, total=len(subsets))
        jobs = zip(subsets, itertools.cycle(SEEDS), strict=False)
        models = self._train(jobs, task)
        images, labels = self.data.test_images, self.data.test_labels
        return models, np.array([train.accuracy(model, images, labels) for model in models])

    def chooser(self, title: str) -> Train:
        """Build the training callable of choose_reweight: mean accuracy on the hold-out."""
        task = self.bars.add_task(title, total=len(CANDIDATES) * len(CHOICE_SEEDS))

        def score(kept: Indices, validation: Indices) -> float:
            models = self._train([(kept, seed) for seed in CHOICE_SEEDS], task)
            images, labels = self.data.images[validation], self.data.labels[validation]
            return float(np.mean([train.accuracy(model, images, labels) for model in models]))

        return score

    def _train(self, jobs: Iterable[tuple[Indices, int]], task: TaskID) -> list[torch.nn.Module]:
        models = []
        for model in self.pool(
            delayed(_trained)(
                self.data.images[kept], self.data.labels[kept], self.data.classes, RECIPE, seed
            )
            for kept, seed in jobs
        ):
            models.append(model)
            self.bars.advance(task)
        return models


def _trained(
    images: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    classes: int,
    recipe: train.Recipe,
    seed: int,
) -> torch.nn.Module:
    torch.set_num_threads(1)  # the network is so small that a second thread only waits
    return train.fit(seeded(seed, SmallCNN, classes), images, labels, recipe, seed)


def _entry(
    name: str,
    head: LastLayer,
    result: PruneResult | None,
    check: RefitCheck | None,
    accuracies: npt.NDArray[np.float64],
    kept: Indices | None = None,
) -> dict[str, Any]:
    """One line of the report; without a result, ``kept`` or everything was trained on."""
    if result is not None:
        kept = result.kept
    elif kept is None:
        kept = np.arange(head.n)
    return {
        "name": name,
        "removed": head.n - len(kept),
        "reweight": None if result is None else result.settings["reweight"],
        "accuracies": accuracies.tolist(),
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
