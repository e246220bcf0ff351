"""Fig. 2: what removing samples does to the head and to its test loss, predicted and measured.

For random, score-based and optimised subsets of many sizes the head is refitted on the kept
samples. Printed: rank correlation of the predicted change with the measured one, for reweight 1
(Definition 1), 0 (the paper's Eq. 2) and one Newton step on the kept samples (first order, but
with their own Hessian); how often the test-loss gap exceeds Theorem 1's
first-order value and the second-order bound; how much smaller the optimised change is than a
random subset's.

python benchmarks/paper/fig2.py digits                              the network's head
python benchmarks/paper/fig2.py digits --linear --weight-decay .01  a linear head on the pixels
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import settings as s
import typer
from scipy.stats import spearmanr

import dprune
from dprune import models, scores, train
from dprune.data import ImageData
from dprune.plan import Plan
from dprune.report import figure_with_axes, log_axes, plot_style
from dprune.result import write_beside
from dprune.selection import BASELINES, Sources

BASED_ON_SCORES = ("herding", "forgetting", "el2n", "grand", "influence-norm", "moderate")


def main(
    data: s.Data = "digits",
    folder: s.Folder = None,
    out: s.Out = None,
    epochs: s.Epochs = None,
    width: s.Width = None,
    samples: s.Samples = None,
    ratios: s.Ratios = ".1,.3,.5,.7,.8,.9,.95",
    linear: Annotated[
        bool, typer.Option(help="The head of no network: features = pixels.")
    ] = False,
    weight_decay: Annotated[float | None, typer.Option(help="Of the head.")] = None,
    device: s.Device = "cpu",
) -> None:
    """Train one network, prune it in many ways, refit its head each time."""
    chosen = s.setting(
        data, epochs=epochs, width=width, samples=samples, ratios=ratios, device=device
    )
    path, say = s.folder_for("fig2-linear" if linear else "fig2", data, out), s.Say()
    images = chosen.load(folder)
    decay = chosen.plan.recipe.weight_decay if weight_decay is None else weight_decay
    sources, test = _source(images, chosen.plan, decay, linear)
    plan = {"fingerprint": images.fingerprint, "decay": decay, "epochs": chosen.plan.recipe.epochs}
    state: dict[str, Any] = {"plan": plan, "points": {}}
    file = path / "progress.json"
    if file.is_file():
        state = json.loads(file.read_text())
        if state["plan"] != plan:
            raise typer.BadParameter(f"{path} holds results of {state['plan']}, expected {plan}")
    keys = []
    for ratio in chosen.plan.ratios:
        for name, select in _subsets(sources, ratio):
            key = f"{name}-{ratio:g}"
            keys.append(key)
            if key in state["points"]:
                continue
            point = _measured(sources, test, name.partition("#")[0], ratio, select())
            state["points"][key] = point
            write_beside(file, json.dumps(state).encode())
            say(f"{key}: change {point['change']:.4g}, predicted {point['change_1']:.4g}")
    points = [state["points"][key] for key in keys]
    results = {
        "data": data,
        "fingerprint": images.fingerprint,
        "n": len(images.labels),
        "weight_decay": decay,
        "points": points,
        **_findings(points),
    }
    with plot_style():
        s.write(path, results, _markdown(results), _plots(points))


def _source(
    images: ImageData, plan: Plan, decay: float, linear: bool
) -> tuple[Sources, tuple[Any, Any]]:
    model = models.seeded(
        0, models.network, plan.network, images.classes, images.channels, images.pixels, plan.width
    )
    recorder = train.Recorder((plan.snapshot,))
    train.fit(
        model, images.images, images.labels, plan.recipe, device=plan.device, recorder=recorder
    )
    parts = ((images.images, images.labels), (images.test_images, images.test_labels))
    if linear:
        features, test = (_pixels(part[0]) for part in parts)
        theta = np.zeros((images.classes, features.shape[1] + 1))
    else:
        head, test_head = (
            dprune.LastLayer.from_torch(model, train.ImageDataset(*part), decay, refit=False)
            for part in parts
        )
        features, test, theta = head.features, test_head.features, head.theta
    sources = Sources(features, images.labels, [recorder.trajectory()], decay, "auto", theta)
    return sources, (test, images.test_labels)


def _pixels(images: Any) -> Any:
    scale = np.float32(255 if images.dtype == np.uint8 else 1)
    return images.reshape(len(images), -1).astype(np.float32) / scale


def _subsets(sources: Sources, ratio: float) -> list[tuple[str, Callable[[], Any]]]:
    """Names and what makes the kept indices; after # the draw of a random one."""
    n = len(sources.labels)
    m = round(ratio * n)
    quotas: dict[str, Any] = {"groups": sources.labels, "balance": "proportional"}

    def by_score(name: str, **rules: Any) -> Callable[[], Any]:
        return lambda: dprune.prune_scores(BASELINES[name](sources, ratio), m=m, **rules).kept

    def random(seed: int) -> Callable[[], Any]:
        return lambda: dprune.prune_scores(scores.random(n, seed), m=m).kept

    def optimised(c: float) -> Callable[[], Any]:
        return lambda: dprune.prune(sources.rows, m=m, reweight=c, **quotas).kept

    return [
        *((f"random#{seed}", random(seed)) for seed in range(3)),
        *((name, by_score(name)) for name in BASED_ON_SCORES),
        *((f"{name}+quotas", by_score(name, **quotas)) for name in BASED_ON_SCORES),
        *((f"dprune@{c:g}", optimised(c)) for c in (0.0, 0.5, 1.0)),
    ]


def _measured(
    sources: Sources, test: tuple[Any, Any], name: str, ratio: float, kept: Any
) -> dict[str, Any]:
    check = dprune.refit_check(sources.head, kept, test, draws=0)
    removed = np.setdiff1d(np.arange(sources.head.n), kept)
    return {
        "name": name,
        "ratio": ratio,
        "change": check.change,
        "change_1": check.predicted,
        "change_0": sources.head.change(removed, reweight=0.0).norm,
        "newton": check.newton,
        "test_gap": check.test_gap,
        "first_order": check.first_order_bound,
        "bound": check.bound,
    }


def _findings(points: list[dict[str, Any]]) -> dict[str, Any]:
    def column(name: str) -> Any:
        return np.array([point[name] for point in points])

    by_ratio = {}
    for ratio in sorted({point["ratio"] for point in points}):
        here = [point for point in points if point["ratio"] == ratio]
        random = np.mean([point["change"] for point in here if point["name"] == "random"])
        ours = next(point["change"] for point in here if point["name"] == "dprune@1")
        by_ratio[f"{ratio:g}"] = float(random / ours)
    excess = column("test_gap") / column("first_order")
    return {
        "subsets": len(points),
        "spearman_change_1": float(spearmanr(column("change_1"), column("change")).statistic),
        "spearman_change_0": float(spearmanr(column("change_0"), column("change")).statistic),
        "spearman_newton": float(spearmanr(column("newton"), column("change")).statistic),
        "within_bound": int((column("test_gap") <= column("bound")).sum()),
        "within_first_order": int((excess <= 1.0).sum()),
        "largest_excess": float(excess.max()),
        "random_over_ours": by_ratio,
    }


def _markdown(results: dict[str, Any]) -> str:
    count = results["subsets"]
    lines = [
        f"{results['data']}, n = {results['n']}, head weight decay {results['weight_decay']:g}, "
        f"{count} subsets.",
        "",
        "| | |",
        "| --- | --- |",
        f"| rank correlation, measured and change_1 | {results['spearman_change_1']:.4f} |",
        f"| rank correlation, measured and change_0 | {results['spearman_change_0']:.4f} |",
        f"| rank correlation, measured and one Newton step | {results['spearman_newton']:.4f} |",
        f"| test-loss gap within the second-order bound | {results['within_bound']} of {count} |",
        "| test-loss gap within Theorem 1's first-order value | "
        f"{results['within_first_order']} of {count}, exceeded up to "
        f"{results['largest_excess']:.2f} times |",
    ]
    for ratio, factor in results["random_over_ours"].items():
        share = f"{100 * float(ratio):g} %"
        lines.append(f"| random's head change over dprune's (reweight 1), {share} | {factor:.2f} |")
    return "\n".join([*lines, ""])


def _plots(points: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = {
        "by scores": ("#E69F00", lambda name: name != "random" and not name.startswith("dprune")),
        "random": ("#555555", lambda name: name == "random"),
        "dprune": ("#0072B2", lambda name: name.startswith("dprune")),
    }
    plots = {}
    for title, x, y, x_label, y_label in (
        ("change", "change_1", "change", "predicted change of the head", "measured by refit"),
        ("gap", "first_order", "test_gap", "||grad L_test|| times the change", "test-loss gap"),
    ):
        figure, axes = figure_with_axes(x_label, y_label)
        for label, (color, belongs) in kinds.items():
            some = [point for point in points if belongs(point["name"])]
            found = [p[x] for p in some], [p[y] for p in some]
            axes.plot(*found, "o", ms=3, color=color, label=label)
        ends = [min(p[x] for p in points), max(p[x] for p in points)]
        axes.plot(ends, ends, color="black", lw=0.8, ls=":", label="equal")
        log_axes(axes, "x", "y")
        axes.legend(frameon=False)
        plots[title] = figure
    return plots


if __name__ == "__main__":
    typer.run(main)
