"""Methods beside each other: select, retrain from scratch, test; resumable.

Each method's kept set trains new networks, one a seed; see ``selector.py`` for what is kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from joblib import delayed

from dprune._resume import Progress
from dprune.compare_table import add_differences, markdown, summary
from dprune.data import ImageData
from dprune.plan import OURS, Plan
from dprune.result import write_beside
from dprune.retraining import Indices, in_workers, run_key, train_and_test
from dprune.selector import Selector

WHOLE = "whole set"


def compare(
    data: ImageData,
    plan: Plan,
    out: Path,
    say: Callable[[str], None] = lambda _: None,
    *,
    selections: Path | None = None,
) -> dict[str, Any]:
    """Run what is not yet done of a plan and return the report.

    Parameters
    ----------
    data : ImageData
    plan : Plan
    out : Path
        The folder: ``progress.json``, written after every training; ``results.json`` and
        ``results.md`` at the end. A second call goes on where the first was stopped, and may add
        methods, ratios and seeds.
    say : callable, optional
        Told, in a line each, what is going on.
    selections : Path, optional
        The folder of the selections, as :class:`dprune.PruneResult` files, and of the networks
        that select; default ``out``. Comparisons of networks that are trained on the same kept sets
        may share one.

    Raises
    ------
    ValueError
        If a folder holds results of other data or settings.
    """
    work = _Comparison(data, plan, out, say, out if selections is None else selections)
    work.run()
    report = work.report()
    write_beside(out / "results.json", json.dumps(report, indent=1).encode())
    write_beside(out / "results.md", markdown(report).encode())
    return report


class _Comparison:
    """One folder's trainings and what is done to them."""

    def __init__(
        self,
        data: ImageData,
        plan: Plan,
        out: Path,
        say: Callable[[str], None],
        selections: Path,
    ) -> None:
        self.data, self.plan, self.out, self.say = data, plan, out, say
        self.n = len(data.labels)
        out.mkdir(parents=True, exist_ok=True)
        self.progress = Progress(
            out / "progress.json",
            {"data": data.name, "fingerprint": data.fingerprint, **plan.identity()},
            {"runs": {}},
        )
        self.runs: dict[str, dict[str, float]] = self.progress.state["runs"]
        self.selector = Selector(data, plan.source, selections, say)

    def run(self) -> None:
        """Sources, the whole set, then ratio by ratio: select, retrain."""
        _ = self.selector.sources
        everything = np.arange(self.n)
        if self.plan.selects_by_itself:  # sources are runs on the whole set like any other
            for seed, run in enumerate(self.selector.source_runs):
                self.runs.setdefault(run_key(everything, seed), run)
        self._retrain([(everything, seed, WHOLE) for seed in range(self.plan.seeds)])
        for ratio in self.plan.ratios:
            self._retrain(
                [
                    (
                        self.selector.kept(method, ratio, seed),
                        seed,
                        f"{ratio:.0%} removed, {method}",
                    )
                    for method in self.plan.methods
                    for seed in range(self.plan.seeds)
                ]
            )

    def _retrain(self, wanted: list[tuple[Indices, int, str]]) -> None:
        """Train and test what has not been yet; every result is filed as it comes."""
        missing = {
            key: (kept, seed, title)
            for kept, seed, title in wanted
            if (key := run_key(kept, seed)) not in self.runs
        }
        test = self.data.test_images, self.data.test_labels
        tasks = [
            delayed(train_and_test)(self.data, self.plan, kept, seed, self.out, test)
            for kept, seed, _ in missing.values()
        ]
        for (key, (_, seed, title)), run in zip(
            missing.items(), in_workers(self.plan, tasks), strict=True
        ):
            self.runs[key] = run
            self.progress.write()
            self.say(f"{title}, seed {seed}: {run['accuracy']:.4f} ({run['seconds']:.0f} s)")

    def report(self) -> dict[str, Any]:
        """Means, spreads and paired differences of all that the plan names."""
        plan, seeds = self.plan, range(self.plan.seeds)
        whole = [self.runs[run_key(np.arange(self.n), s)] for s in seeds]
        cells = []
        for ratio in plan.ratios:
            for method in plan.methods:
                runs = [self.runs[run_key(self.selector.kept(method, ratio, s), s)] for s in seeds]
                selection = self.selector.about(method, ratio)
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
            "identity": self.progress.identity,
            "source_seconds": [run["seconds"] for run in self.selector.source_runs],
            "whole": {
                "accuracies": [run["accuracy"] for run in whole],
                "training_seconds": float(np.mean([run["seconds"] for run in whole])),
                **summary([run["accuracy"] for run in whole]),
            },
            "methods": list(plan.methods),
            "ratios": list(plan.ratios),
            "cells": cells,
        }
