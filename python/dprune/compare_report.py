"""The page of ``dprune compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dprune.compare_table import note
from dprune.report import figure_with_axes, plot_style, svg, write_page

_OURS = "#0072B2"


def write(folder: Path, report: dict[str, Any]) -> Path:
    """Render a report of :func:`dprune.compare.compare` to ``folder/report.html``."""
    with plot_style():
        return write_page(
            folder,
            "compare.html",
            report=report,
            cells={(cell["method"], cell["ratio"]): cell for cell in report["cells"]},
            best={
                ratio: max(cell["mean"] for cell in report["cells"] if cell["ratio"] == ratio)
                for ratio in report["ratios"]
            },
            note=note(report),
            accuracy_plot=svg(accuracy_plot(report)),
            difference_plot=svg(difference_plot(report)),
        )


def accuracy_plot(report: dict[str, Any]) -> Figure:
    """Mean accuracy of every method against the share removed (the paper's Fig. 1)."""
    figure, axes = figure_with_axes("share of the training set removed", "test accuracy")
    axes.axhline(report["whole"]["mean"], color="black", lw=0.8, ls=":", label="whole set")
    for method in report["methods"]:
        chain = _chain(report, method)
        axes.errorbar(
            [cell["ratio"] for cell in chain],
            [cell["mean"] for cell in chain],
            yerr=[cell["spread"] for cell in chain],
            label=method,
            capsize=2,
            zorder=3 if method == "dprune" else 2,
            **_style(method),
        )
    axes.legend(frameon=False, fontsize=7)
    return figure


def difference_plot(report: dict[str, Any]) -> Figure:
    """What dprune gains over each method."""
    figure, axes = figure_with_axes(
        "share of the training set removed", "accuracy gained by dprune"
    )
    axes.axhline(0.0, color="black", lw=0.8, ls=":")
    for method in report["methods"]:
        chain = [cell for cell in _chain(report, method) if "difference" in cell]
        if chain:
            axes.errorbar(
                [cell["ratio"] for cell in chain],
                [cell["difference"] for cell in chain],
                yerr=[cell.get("standard_error", 0.0) for cell in chain],
                label=method,
                capsize=2,
                **_style(method),
            )
    axes.set_yscale("symlog", linthresh=0.02)
    return figure


def _chain(report: dict[str, Any], method: str) -> list[dict[str, Any]]:
    cells = [cell for cell in report["cells"] if cell["method"] == method]
    return sorted(cells, key=lambda cell: float(cell["ratio"]))


def _style(method: str) -> dict[str, Any]:
    """Ours stands out; quotas are dashed."""
    if method == "dprune":
        return {"color": _OURS, "lw": 2.2, "marker": "o"}
    return {"lw": 1, "marker": ".", "ls": "--" if method.endswith("+quotas") else "-"}
