"""The commands. Each is one public call with files at both ends."""

from __future__ import annotations

import importlib
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

import dprune
from dprune.result import write_beside

app = typer.Typer(
    help="Which training samples can go, and what that costs.",
    no_args_is_help=True,
    add_completion=False,
)
console = Console()

Features = Annotated[
    Path, typer.Argument(help="An .npz file with arrays 'features' (n, d) and 'labels' (n,).")
]


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results and the report.")] = Path(
        "demo-report"
    ),
) -> None:
    """Train, prune, check and retrain on scikit-learn's digits; write a report."""
    from dprune.demo import run

    run(out, console)


@app.command()
def features(
    source: Annotated[
        str, typer.Argument(help="'module:function', returning (model, dataset), importable here.")
    ],
    out: Annotated[Path, typer.Argument(help="Where features and labels go (.npz).")],
    layer: Annotated[str | None, typer.Option(help="Name of the layer, if not the last.")] = None,
) -> None:
    """Run a torch model over its training set and write the last layer's inputs."""
    module, _, function = source.partition(":")
    if not function:
        raise typer.BadParameter(f"source must be 'module:function', found {source!r}")
    sys.path.insert(0, os.getcwd())
    model, dataset = getattr(importlib.import_module(module), function)()
    head = dprune.LastLayer.from_torch(model, dataset, layer=layer, refit=False)
    buffer = io.BytesIO()
    np.savez(buffer, features=head.features, labels=head.labels)
    write_beside(out, buffer.getvalue())
    console.print(f"{head.n} samples, {head.features.shape[1]} features, {head.classes} classes")


@app.command()
def influence(
    features: Features,
    out: Annotated[Path, typer.Argument(help="Where the rows go (.npy); resumed after a kill.")],
    weight_decay: float = 5e-4,
    method: Annotated[str, typer.Option(help="auto, dense, pcg or lissa.")] = "auto",
    rank: Annotated[int | None, typer.Option(help="Only this many leading directions.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, or bfloat16 at half the size.")] = "float32",
) -> None:
    """Fit the last layer and write its influence rows."""
    rows = dprune.influence(_head(features, weight_decay), method, rank, out, dtype=dtype)
    console.print(
        f"{rows.shape[0]} x {rows.shape[1]} rows by {rows.method} ({rows.reason}), "
        f"residual {rows.residuals.max():.1e}"
    )


@app.command()
def solve(
    rows: Annotated[Path, typer.Argument(help="The matrix S (.npy), mapped, not read at once.")],
    out: Annotated[Path, typer.Argument(help="Where the result goes (.npz).")],
    eps: Annotated[float | None, typer.Option(help="Eq. 3: the largest change allowed.")] = None,
    m: Annotated[int | None, typer.Option(help="Eq. 4: how many to remove.")] = None,
    fraction: Annotated[float | None, typer.Option(help="Eq. 4: which share to remove.")] = None,
    reweight: float = 0.0,
    features: Annotated[
        Path | None, typer.Option(help="Features file, for class quotas by its labels.")
    ] = None,
    min_keep: int = 0,
    seed: int = 0,
    time_limit: float | None = None,
) -> None:
    """Choose the samples to remove."""
    labels = None
    if features is not None:
        with np.load(features) as data:
            labels = data["labels"]
    result = dprune.prune(
        rows,
        eps,
        m=m,
        fraction=fraction,
        reweight=reweight,
        groups=labels,
        balance=None if labels is None else "proportional",
        min_keep=min_keep,
        seed=seed,
        time_limit=time_limit,
        progress=True,
    )
    result.save(out)
    console.print(result.summary())


@app.command()
def check(
    features: Features,
    result: Annotated[Path, typer.Argument(help="A result that 'dprune solve' wrote.")],
    weight_decay: float = 5e-4,
) -> None:
    """Refit the last layer on the kept samples and compare with the prediction."""
    kept = dprune.load(result).kept
    found = dprune.refit_check(_head(features, weight_decay), kept)
    console.print(f"change, refitted      {found.change:.6g}")
    console.print(f"predicted             {found.predicted:.6g}")
    console.print(f"one Newton step       {found.newton:.6g}")
    console.print(f"random, same size     {found.random_change:.6g}")


@app.command()
def compare(
    data: Annotated[
        str,
        typer.Option(help="digits, glyphs, cifar10, cifar100, tiny-imagenet, or folder."),
    ] = "digits",
    folder: Annotated[Path | None, typer.Option(help="Where its files lie.")] = None,
    methods: Annotated[
        str, typer.Option(help="Comma-separated; see dprune.plan.Plan.")
    ] = "random,random+quotas,herding,forgetting,el2n,influence-norm,dprune",
    ratios: Annotated[str, typer.Option(help="Shares removed, comma-separated.")] = ".5,.7,.9",
    seeds: Annotated[int, typer.Option(help="Networks retrained on each kept set.")] = 3,
    samples: Annotated[int | None, typer.Option(help="Use a random part of the data.")] = None,
    network: str = "small",
    width: Annotated[int | None, typer.Option(help="Channels at the network's start.")] = None,
    paper: Annotated[bool, typer.Option(help="The paper's recipe, not the small one.")] = False,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    least_steps: Annotated[
        int | None, typer.Option(help="More epochs on small sets; default 1000, paper: 0.")
    ] = None,
    precision: str = "float32",
    sources: Annotated[int, typer.Option(help="Networks trained on everything.")] = 3,
    rows: Annotated[str, typer.Option(help="Method of dprune.influence.")] = "auto",
    candidates: Annotated[str, typer.Option(help="Values of reweight to choose from.")] = "0,.5,1",
    choice_runs: Annotated[int, typer.Option(help="Trainings per candidate.")] = 2,
    device: Annotated[str, typer.Option(help="Where to train and prune: cpu, cuda.")] = "cpu",
    jobs: Annotated[int, typer.Option(help="Worker processes for the retrainings.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of torch in this process.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder; a second call goes on.")] = Path(
        "compare-report"
    ),
) -> None:
    """Select by each method, retrain from scratch, test; write a table and a report."""
    import torch
    from rich.markdown import Markdown

    from dprune import train
    from dprune.compare import compare as run
    from dprune.compare_table import markdown
    from dprune.data import load
    from dprune.plan import Plan
    from dprune.report import write_report

    torch.set_num_threads(threads)
    if least_steps is None:
        least_steps = 0 if paper else 1000
    given = {"epochs": epochs, "batch": batch, "lr": lr, "least_steps": least_steps}
    changes: dict[str, Any] = {k: value for k, value in given.items() if value is not None}
    recipe = train.Recipe.paper if paper else train.Recipe
    plan = Plan(
        methods=tuple(methods.split(",")),
        ratios=tuple(map(float, ratios.split(","))),
        seeds=seeds,
        network=network,
        width=width,
        recipe=recipe(precision=precision, **changes),
        sources=sources,
        rows=rows,
        candidates=tuple(map(float, candidates.split(","))),
        choice_runs=choice_runs,
        device=device,
        jobs=jobs,
    )
    images = load(data, folder)
    if samples is not None:
        images = images.take(samples)
    found = run(images, plan, out, lambda line: console.print(line, highlight=False))
    console.print(Markdown(markdown(found)))
    console.print(f"Report: [bold]{write_report(out)}[/]")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A folder that demo or compare wrote.")],
) -> None:
    """Render a folder's results.json again."""
    from dprune.report import write_report

    console.print(str(write_report(folder)))


def _head(path: Path, weight_decay: float) -> dprune.LastLayer:
    with np.load(path) as data:
        return dprune.LastLayer.fit(data["features"], data["labels"], weight_decay)
