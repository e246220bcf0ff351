"""The commands. Each is one public call with files at both ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

import dprune

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
def influence(
    features: Features,
    out: Annotated[Path, typer.Argument(help="Where the rows go (.npy).")],
    weight_decay: float = 5e-4,
) -> None:
    """Fit the last layer and write its influence rows."""
    rows = dprune.influence(_head(features, weight_decay))
    with out.open("wb") as file:
        np.save(file, rows.rows)
    console.print(f"{rows.shape[0]} x {rows.shape[1]} rows, residual {rows.residuals.max():.1e}")


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
        np.load(rows, mmap_mode="r"),
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
def report(folder: Annotated[Path, typer.Argument(help="A folder that the demo wrote.")]) -> None:
    """Render a folder's results.json again."""
    from dprune.report import write_report

    console.print(str(write_report(folder)))


def _head(path: Path, weight_decay: float) -> dprune.LastLayer:
    with np.load(path) as data:
        return dprune.LastLayer.fit(data["features"], data["labels"], weight_decay)
