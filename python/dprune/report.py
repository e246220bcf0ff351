"""The report: one self-contained HTML page from a folder's ``results.json``."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from jinja2 import Environment, FunctionLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    LogLocator,
    NullFormatter,
    PercentFormatter,
    StrMethodFormatter,
)

from dprune.result import write_beside

# A colour-blind-safe palette (Okabe and Ito).
_COLORS = {
    "chosen": "#0072B2",
    "random": "#999999",
    0.0: "#56B4E9",
    0.5: "#E69F00",
    1.0: "#009E73",
    "eps": "#D55E00",
}


def write_report(folder: Path) -> Path:
    """Render ``folder/results.json`` to ``folder/report.html`` and return its path."""
    report = json.loads((folder / "results.json").read_text())
    if report.get("kind") == "compare":
        from dprune import compare_report

        return compare_report.write(folder, report)
    with plot_style():
        return write_page(
            folder,
            "report.html",
            report=report,
            accuracy_plot=svg(_accuracy_plot(report)),
            change_plot=svg(_change_plot(report)),
            classes_plot=svg(_classes_plot(report)),
            most=[_image(entry) for entry in report["images"]["most"]],
            least=[_image(entry) for entry in report["images"]["least"]],
        )


def write_page(folder: Path, template: str, **context: Any) -> Path:
    """Fill a template of the package into ``folder/report.html``."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        loader=FunctionLoader(
            lambda name: files("dprune").joinpath("templates", name).read_text("utf-8")
        ),
    )
    path = folder / "report.html"
    write_beside(path, environment.get_template(template).render(**context).encode())
    return path


def plot_style() -> AbstractContextManager[None]:
    """Text stays text, and the same figure gives the same file."""
    return mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dprune", "font.size": 9})


def _accuracy_plot(report: dict[str, Any]) -> Figure:
    figure, axes = figure_with_axes("share of the training set removed", "test accuracy")
    n = report["n"]
    runs = report["runs"]
    whole = runs[0]
    axes.axhline(whole["mean"], color="black", lw=0.8, ls=":", label="whole training set")
    fixed = [run for run in runs if run["name"] == "dprune"]
    for c in sorted({run["reweight"] for run in fixed}):
        chain = [run for run in fixed if run["reweight"] == c]
        axes.plot(
            [run["removed"] / n for run in chain],
            [run["mean"] for run in chain],
            color=_COLORS[c],
            lw=1,
            ls="--",
            label=f"dprune, reweight {c:g}",
        )
    _errors(axes, [run for run in fixed if run["chosen"]], n, "chosen", "dprune, reweight chosen")
    _errors(axes, _sorted([r for r in runs if r["name"] == "random"]), n, "random", "random")
    eps = [run for run in runs if run["name"] == "dprune, eps"]
    _errors(axes, eps, n, "eps", f"dprune, Eq. 3, eps = {report['eps']:.3g}", marker="D")
    percent_axis(axes, [run["removed"] / n for run in fixed + eps])
    axes.legend(frameon=False)
    return figure


def _change_plot(report: dict[str, Any]) -> Figure:
    figure, axes = figure_with_axes("predicted change of the head", "change measured by refit")
    checked = [run for run in report["runs"] if run["change"] is not None]
    for name, key in (("random", "random"), ("dprune", "chosen"), ("dprune, eps", "eps")):
        points = [run for run in checked if run["name"] == name]
        axes.plot(
            [run["predicted"] for run in points],
            [run["change"] for run in points],
            "o",
            color=_COLORS[key],
            label=name,
        )
    both = [run[key] for run in checked for key in ("predicted", "change")]
    ends = [min(both), max(both)]
    axes.plot(ends, ends, color="black", lw=0.8, ls=":", label="equal")
    log_axes(axes, "x", "y")
    axes.legend(frameon=False)
    return figure


def _classes_plot(report: dict[str, Any]) -> Figure:
    figure, axes = figure_with_axes("class", "samples kept")
    picked = [
        run
        for run in report["runs"]
        if run.get("chosen") or run["name"] in ("whole set", "dprune, eps")
    ]
    for k, run in enumerate(picked):
        counts = run["class_counts"]
        width = 0.8 / len(picked)
        axes.bar(
            [c + (k - (len(picked) - 1) / 2) * width for c in range(len(counts))],
            counts,
            width,
            label=f"{run['name']}, {run['removed'] / report['n']:.0%} removed",
        )
    axes.set_xticks(range(len(picked[0]["class_counts"])))
    axes.set_ylim(0, 1.6 * max(picked[0]["class_counts"]))
    axes.legend(frameon=False, ncols=2)
    return figure


def _errors(
    axes: Axes, runs: list[dict[str, Any]], n: int, color: str, label: str, marker: str = "o"
) -> None:
    axes.errorbar(
        [run["removed"] / n for run in runs],
        [run["mean"] for run in runs],
        yerr=[run["spread"] for run in runs],
        color=_COLORS[color],
        marker=marker,
        capsize=3,
        label=label,
    )


def _sorted(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(runs, key=lambda run: run["removed"])


def figure_with_axes(x: str, y: str) -> tuple[Figure, Axes]:
    """An empty plot with labelled axes."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def percent_axis(axes: Axes, shares: Sequence[float]) -> None:
    """Ticks of x at these shares, in per cent."""
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(shares))))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def log_axes(axes: Axes, *names: Literal["x", "y"]) -> None:
    """Logarithmic, with ticks at 1, 2 and 5, written out."""
    for name in names:
        axes.set(**{f"{name}scale": "log"})
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def svg(figure: Figure) -> str:
    """A figure as an SVG element."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _image(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with its pixels as an embedded PNG."""
    import matplotlib.image

    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, entry["pixels"], cmap="gray_r", vmin=0, vmax=1, format="png")
    return {**entry, "png": base64.b64encode(buffer.getvalue()).decode()}
