"""Table 1: architecture search on proxy sets instead of the whole training set.

All 720 ConvNets (depth, width, pooling, activation, normalisation) are trained on every proxy set
and, for as many epochs, on the whole set; printed are the whole-set test accuracy of the network
that a proxy ranks first, the rank correlation of proxy and whole over the best 10 by the whole set
and over all, time and storage. ``--networks`` takes an evenly spaced part of the space.

A proxy has to rank networks, not to teach them best. So dprune is the paper's program here,
reweight 0, whose hard samples tell networks apart; reweight 1, which teaches better, stands beside.

python benchmarks/paper/table1.py digits --networks 48
python benchmarks/paper/table1.py digits --jobs 2
python benchmarks/paper/table1.py cifar10 --folder DATA --device cuda --per-class 100 --epochs 100
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import settings as s
import typer
from joblib import Parallel, delayed
from scipy.stats import spearmanr

import dprune
from dprune import models, scores, train
from dprune.data import ImageData
from dprune.models import ConvNet, ConvNetShape, convnet_space
from dprune.report import figure_with_axes, plot_style
from dprune.result import write_beside
from dprune.selection import Sources

BEST = 10


def main(
    data: s.Data = "digits",
    folder: s.Folder = None,
    out: s.Out = None,
    epochs: int = 30,
    per_class: Annotated[int, typer.Option(help="Images a class in a proxy set.")] = 20,
    networks: Annotated[int, typer.Option(help="How many of the 720.")] = 720,
    widths: Annotated[str, typer.Option(help="The paper's are 32,64,128,256.")] = "4,8,16,32",
    batch: int = 64,
    lr: float = 0.02,
    device: s.Device = "cpu",
    jobs: s.Jobs = 1,
) -> None:
    """Select the proxy sets with one ConvNet, then train the space on each."""
    chosen = s.setting(data, device=device)
    path, say = s.folder_for("table1", data, out), s.Say()
    images = chosen.load(folder)
    sizes = tuple(map(int, widths.split(",")))
    space = convnet_space(widths=sizes)  # type: ignore[arg-type]
    space = space[:: max(1, len(space) // networks)][:networks]
    plan = {
        "fingerprint": images.fingerprint,
        "epochs": epochs,
        "per_class": per_class,
        "batch": batch,
        "lr": lr,
        "widths": sizes,
    }
    state = _state(path, json.loads(json.dumps(plan)))
    recipe = train.Recipe(epochs=epochs, batch=batch, lr=lr)
    if "proxies" not in state:
        shape = ConvNetShape(width=sizes[len(sizes) // 2])
        state["proxies"] = _proxies(images, per_class, shape, recipe, device, say)
        _write(path, state)
    missing = [
        (shape, name, np.array(proxy["kept"]))
        for shape in space
        for name, proxy in state["proxies"].items()
        if f"{name}/{shape}" not in state["runs"]
    ]
    pool = Parallel(jobs, return_as="generator", mmap_mode="c")
    found = pool(
        delayed(_trained_and_tested)(images, kept, shape, recipe, device)
        for shape, name, kept in missing
    )
    for k, ((shape, name, _), run) in enumerate(zip(missing, found, strict=True), 1):
        state["runs"][f"{name}/{shape}"] = run
        if k % 50 == 0 or k == len(missing):
            _write(path, state)
            say(f"{k} of {len(missing)}: {shape} {name} {run['accuracy']:.4f}")
    rows = _rows(state, space, len(images.labels))
    text = _markdown(rows, data, len(space), plan)
    with plot_style():
        figure, axes = figure_with_axes("test accuracy, whole set", "test accuracy, proxy")
        whole = [state["runs"][f"whole/{shape}"]["accuracy"] for shape in space]
        for name in state["proxies"]:
            if name != "whole":
                found = [state["runs"][f"{name}/{shape}"]["accuracy"] for shape in space]
                axes.plot(whole, found, ".", ms=3, label=name)
        axes.legend(frameon=False)
        s.write(path, {"plan": plan, "rows": rows}, text, {"proxies": figure})


def _trained_and_tested(
    images: ImageData, kept: Any, shape: ConvNetShape, recipe: train.Recipe, device: str
) -> dict[str, float]:
    # Sent to workers by value. With ``torch`` among its names it would take ``torch.classes``
    # along, because of ``images.classes``, and fail; joblib limits the workers' threads itself.
    start = time.perf_counter()
    model = models.seeded(0, ConvNet, images.classes, images.channels, images.pixels, shape)
    train.fit(model, images.images[kept], images.labels[kept], recipe, device=device)
    accuracy = train.accuracy(model, images.test_images, images.test_labels)
    return {"accuracy": accuracy, "seconds": time.perf_counter() - start}


def _state(path: Path, plan: dict[str, Any]) -> dict[str, Any]:
    file = path / "progress.json"
    if not file.is_file():
        return {"plan": plan, "runs": {}}
    state: dict[str, Any] = json.loads(file.read_text())
    if state["plan"] != plan:
        raise typer.BadParameter(f"{path} holds results of {state['plan']}, expected {plan}")
    return state


def _write(path: Path, state: dict[str, Any]) -> None:
    write_beside(path / "progress.json", json.dumps(state).encode())


def _proxies(
    images: ImageData,
    per_class: int,
    shape: ConvNetShape,
    recipe: train.Recipe,
    device: str,
    say: s.Say,
) -> dict[str, dict[str, Any]]:
    """Kept indices and seconds of each proxy; one ConvNet of middling size selects."""
    n = len(images.labels)
    recorder = train.Recorder()
    start = time.perf_counter()
    model = models.seeded(0, ConvNet, images.classes, images.channels, images.pixels, shape)
    train.fit(model, images.images, images.labels, recipe, 0, device=device, recorder=recorder)
    source_seconds = time.perf_counter() - start
    decay = recipe.weight_decay
    head = dprune.LastLayer.from_torch(
        model, train.ImageDataset(images.images, images.labels), decay, refit=False
    )
    sources = Sources(
        head.features, images.labels, [recorder.trajectory()], decay, "auto", head.theta
    )
    m = n - per_class * images.classes
    quotas: dict[str, Any] = {"groups": images.labels, "balance": "proportional"}
    proxies: dict[str, dict[str, Any]] = {
        "whole": {"kept": list(range(n)), "seconds": 0.0},
    }

    def add(name: str, select: Any, base: float) -> None:
        start = time.perf_counter()
        kept = select()
        proxies[name] = {
            "kept": kept.tolist(),
            "seconds": base + time.perf_counter() - start,
        }
        say(f"{name}: {len(kept)} samples in {proxies[name]['seconds']:.1f} s")

    def ours(reweight: float) -> Any:
        return dprune.prune(sources.rows, m=m, reweight=reweight, **quotas).kept

    add("random", lambda: dprune.prune_scores(scores.random(n), m=m, **quotas).kept, 0.0)
    herding = scores.herding(sources.features, images.labels)
    add("herding", lambda: dprune.prune_scores(herding, m=m, **quotas).kept, source_seconds)
    forgotten = scores.forgetting(sources.trajectories)
    add("forgetting", lambda: dprune.prune_scores(forgotten, m=m, **quotas).kept, source_seconds)
    add("dprune", lambda: ours(0.0), source_seconds)
    add("dprune@1", lambda: ours(1.0), source_seconds)
    return proxies


def _rows(state: dict[str, Any], space: list[ConvNetShape], n: int) -> list[dict[str, Any]]:
    def column(name: str, field: str) -> Any:
        return np.array([state["runs"][f"{name}/{shape}"][field] for shape in space])

    whole = column("whole", "accuracy")
    best = np.argsort(-whole, kind="stable")[:BEST]
    rows = []
    for name, proxy in state["proxies"].items():
        found = column(name, "accuracy")
        rows.append(
            {
                "proxy": name,
                "best_found": float(whole[int(np.argmax(found))]),
                "spearman_best": float(spearmanr(found[best], whole[best]).statistic),
                "spearman_all": float(spearmanr(found, whole).statistic),
                "select_seconds": proxy["seconds"],
                "train_seconds": float(column(name, "seconds").sum()),
                "images": len(proxy["kept"]),
                "share": len(proxy["kept"]) / n,
            }
        )
    return rows


def _markdown(rows: list[dict[str, Any]], data: str, count: int, plan: dict[str, Any]) -> str:
    lines = [
        f"{data}, {count} ConvNets of widths {plan['widths']}, {plan['per_class']} images a class "
        f"in a proxy, {plan['epochs']} epochs.",
        "",
        f"| proxy | accuracy of the best found | Spearman, best {BEST} | Spearman, all "
        "| seconds to select | to train | images |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row['proxy']} | {row['best_found']:.4f} | {row['spearman_best']:.2f} "
            f"| {row['spearman_all']:.3f} | {row['select_seconds']:.1f} "
            f"| {row['train_seconds']:.0f} | {row['images']} ({row['share']:.0%}) |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    typer.run(main)
