"""What the paper's experiments run on: one setting a data set, small machine or paper's own.

``digits`` and ``glyphs`` need no download; for the others pass ``--folder``. Every script
writes into ``benchmarks/results/<script>-<data>`` and goes on where it was stopped.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matplotlib.figure import Figure

from dprune import train
from dprune.data import ImageData, load
from dprune.plan import Plan
from dprune.result import write_beside

RESULTS = Path("benchmarks") / "results"
# What takes minutes to render, and needs the fonts only once.
CACHE = Path(__file__).resolve().parents[2] / "build"

METHODS = (
    "random",
    "random+quotas",
    "herding+quotas",
    "moderate+quotas",
    "forgetting+quotas",
    "el2n+quotas",
    "grand+quotas",
    "influence-norm+quotas",
    "ccs+quotas",
    "dprune",
)
PLAIN = ("herding", "forgetting", "el2n", "influence-norm")


@dataclass(frozen=True)
class Setting:
    """A data set with the network and the recipe that go with it."""

    data: str
    plan: Plan
    samples: int | None = None
    # Fig. 3: pruned with the first, trained on each.
    networks: tuple[tuple[str, int | None], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def load(self, folder: Path | None) -> ImageData:
        """The data, cut to ``samples``."""
        data = load(self.data, folder, **self.options)
        if self.samples is None or self.samples >= len(data.labels):
            return data
        return data.take(self.samples)


_SMALL = Plan(
    methods=METHODS + PLAIN,
    ratios=(0.3, 0.5, 0.7, 0.8, 0.9, 0.95),
    seeds=5,
    recipe=train.Recipe(least_steps=1000),
)
_GLYPHS = Setting(
    "glyphs",
    replace(
        _SMALL,
        ratios=(0.3, 0.5, 0.7, 0.85, 0.95),
        sources=2,
        choice_runs=1,  # a hold-out of 800 is judge enough
        recipe=train.Recipe(epochs=15, batch=64, least_steps=1000),
    ),
    samples=8000,
    options={"pixels": 16},
    networks=(("small", 8), ("small", 16), ("small", 32)),
)
_PAPER = Plan(
    methods=METHODS,
    ratios=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    seeds=5,
    network="resnet50",
    recipe=train.Recipe.paper(),
)
_PAPER_NETWORKS = (("senet", None), ("resnet18", None), ("resnet50", None))
SETTINGS = {
    "digits": Setting("digits", _SMALL, networks=(("small", 8), ("small", 32), ("senet", 16))),
    "glyphs": _GLYPHS,
    "glyphs-by-font": replace(_GLYPHS, options={**_GLYPHS.options, "split": "font"}),
    # Of CIFAR's size, for a GPU; three variants of every character and some 500 fonts.
    "glyphs-50k": Setting(
        "glyphs",
        replace(
            _PAPER,
            ratios=(0.5, 0.7, 0.9),
            seeds=3,
            network="resnet18",
            sources=1,
            recipe=replace(_PAPER.recipe, flip=False),  # letters have a left and a right
        ),
        samples=50_000,
        options={"variants": 3, "cache": CACHE / "glyphs-50k.npz"},
        networks=_PAPER_NETWORKS,
    ),
    "cifar10": Setting("cifar10", _PAPER, networks=_PAPER_NETWORKS),
    "cifar100": Setting("cifar100", _PAPER, networks=_PAPER_NETWORKS),
    "tiny-imagenet": Setting("tiny-imagenet", _PAPER, networks=_PAPER_NETWORKS),
}

Data = Annotated[str, typer.Argument(help=", ".join(SETTINGS))]
Folder = Annotated[Path | None, typer.Option(help="Where the data lie.")]
Out = Annotated[Path | None, typer.Option(help="Default benchmarks/results/<script>-<data>.")]
Seeds = Annotated[int | None, typer.Option(help="Networks retrained on each kept set.")]
Epochs = Annotated[int | None, typer.Option(help="Instead of the setting's, and no least_steps.")]
Width = Annotated[int | None, typer.Option(help="Channels at the network's start.")]
Samples = Annotated[int | None, typer.Option(help="Use a random part of the training data.")]
Methods = Annotated[str | None, typer.Option(help="Comma-separated.")]
Ratios = Annotated[str | None, typer.Option(help="Shares removed, comma-separated.")]
Jobs = Annotated[int, typer.Option(help="Worker processes for the retrainings.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]


def setting(
    data: str,
    *,
    seeds: int | None = None,
    epochs: int | None = None,
    width: int | None = None,
    samples: int | None = None,
    ratios: str | None = None,
    methods: str | None = None,
    device: str = "cpu",
    jobs: int = 1,
) -> Setting:
    """The setting of a data set with what the command line changes."""
    if data not in SETTINGS:
        raise typer.BadParameter(f"data must be one of {', '.join(SETTINGS)}, found {data!r}")
    found = SETTINGS[data]
    plan = found.plan
    changes: dict[str, Any] = {"device": device, "jobs": jobs}
    if seeds is not None:
        changes["seeds"] = seeds
    if epochs is not None:
        changes["recipe"] = replace(plan.recipe, epochs=epochs, least_steps=0)
    if width is not None:
        changes["width"] = width
    if methods is not None:
        changes["methods"] = tuple(methods.split(","))
    if ratios is not None:
        changes["ratios"] = tuple(map(float, ratios.split(",")))
    if device == "cpu":
        torch.set_num_threads(1)
    else:
        changes["recipe"] = replace(
            changes.get("recipe", plan.recipe), precision="bfloat16", compile=True
        )
    return replace(
        found,
        plan=replace(plan, **changes),
        samples=found.samples if samples is None else samples,
    )


def folder_for(script: str, data: str, out: Path | None) -> Path:
    """Where a script's results go; made."""
    path = RESULTS / f"{script}-{data}" if out is None else out
    path.mkdir(parents=True, exist_ok=True)
    return path


def write(out: Path, results: dict[str, Any], text: str, plots: dict[str, Figure]) -> None:
    """JSON, Markdown and plots of a script."""
    write_beside(out / "results.json", json.dumps(results, indent=1).encode())
    write_beside(out / "results.md", text.encode())
    for name, figure in plots.items():
        figure.savefig(out / f"{name}.svg", metadata={"Date": None})
    print(text)


class Say:
    """Prints lines with the seconds since the start."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def __call__(self, line: str) -> None:
        """Print a line."""
        print(f"{time.perf_counter() - self.start:7.0f} s  {line}", flush=True)
