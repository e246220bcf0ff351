"""The page of ``dprune compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from dprune.compare_table import note, shown
from dprune.plan import FIXED, OURS, QUOTAS
from dprune.report import figure_with_axes, percent_axis, plot_style, svg, write_page

# One colour a baseline, with and without quotas; blue is dprune's.
_COLORS = {
    "random": "#555555",
    "herding": "#2ca02c",
    "herding-greedy": "#98df8a",
    "moderate": "#bcbd22",
    "forgetting": "#9467bd",
    "el2n": "#d62728",
    "grand": "#ff9896",
    "influence-norm": "#e377c2",
    "ccs": "#ff7f0e",
}
_OURS, _FIXED = "#0072B2", "#56B4E9"
_LEAST_ERROR = 1e-3
_ACCURACIES = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995)
_POINTS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)


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
            shown=shown,
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
            yerr=[cell["spread"] or 0.0 for cell in chain],
            label=method,
            **method_style(method),
        )
    percent_axis(axes, report["ratios"])
    accuracy_scale(axes)
    legend_beside(figure)
    return figure


def difference_plot(report: dict[str, Any]) -> Figure:
    """What dprune gains over each method."""
    figure, axes = figure_with_axes(
        "share of the training set removed", "points of accuracy gained by dprune"
    )
    axes.axhline(0.0, color="black", lw=0.8, ls=":")
    for method in report["methods"]:
        chain = [cell for cell in _chain(report, method) if "difference" in cell]
        if chain:
            axes.errorbar(
                [cell["ratio"] for cell in chain],
                [100.0 * cell["difference"] for cell in chain],
                yerr=[100.0 * cell.get("standard_error", 0.0) for cell in chain],
                label=method,
                **method_style(method),
            )
    percent_axis(axes, report["ratios"])
    axes.set_yscale("symlog", linthresh=2.0)
    axes.yaxis.set_major_locator(FixedLocator([-gain for gain in _POINTS] + [0.0, *_POINTS]))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    legend_beside(figure)
    return figure


def method_style(method: str) -> dict[str, Any]:
    """How a method is drawn in every plot: ours stands out, quotas are dashed."""
    if method == OURS:
        return {"color": _OURS, "lw": 2.2, "marker": "o", "zorder": 3, "capsize": 2}
    base = method.removesuffix(QUOTAS)
    return {
        "color": _FIXED if method.startswith(FIXED) else _COLORS[base],
        "lw": 1,
        "elinewidth": 0.6,
        "marker": ".",
        "ls": "-" if base == method else "--",
    }


def accuracy_scale(axes: Axes) -> None:
    """Accuracies in y by the logarithm of the error: differences near 1 stay visible."""
    axes.set_yscale(
        "function",
        functions=(
            lambda a: -np.log10(np.maximum(1.0 - np.asarray(a), _LEAST_ERROR)),
            lambda x: 1.0 - 10.0 ** -np.asarray(x),
        ),
    )
    axes.set_ylim(bottom=max(0.0, axes.get_ylim()[0]))
    axes.yaxis.set_major_locator(FixedLocator(_ACCURACIES))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


def legend_beside(figure: Figure) -> None:
    """A legend to the right, where no number of methods hides a line."""
    figure.set_size_inches(7.6, 4.2)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)


def _chain(report: dict[str, Any], method: str) -> list[dict[str, Any]]:
    cells = [cell for cell in report["cells"] if cell["method"] == method]
    return sorted(cells, key=lambda cell: float(cell["ratio"]))
