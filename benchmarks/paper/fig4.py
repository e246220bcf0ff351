"""Fig. 4: time and accuracy against the share removed, selection included.

Uses the runs of fig1 (and makes those that are missing). Selection counts everything a user would
have to pay who starts from nothing: training the network that is selected by, scores or influence
rows, the choice of reweight with its trainings, and the solver.

python benchmarks/paper/fig4.py digits
"""

from __future__ import annotations

from typing import Any

import settings as s
import typer

from dprune.compare import compare
from dprune.compare_report import accuracy_scale, legend_beside, method_style
from dprune.report import figure_with_axes, log_axes, percent_axis, plot_style

# How many source networks a method needs.
AVERAGED = ("forgetting", "el2n", "grand", "ccs")


def main(
    data: s.Data = "digits",
    folder: s.Folder = None,
    out: s.Out = None,
    seeds: s.Seeds = None,
    ratios: s.Ratios = None,
    methods: s.Methods = None,
    device: s.Device = "cpu",
    jobs: s.Jobs = 1,
) -> None:
    """Times from fig1's folder."""
    chosen = s.setting(data, seeds=seeds, ratios=ratios, methods=methods, device=device, jobs=jobs)
    report = compare(chosen.load(folder), chosen.plan, s.folder_for("fig1", data, None), s.Say())
    whole = report["whole"]
    rows: list[dict[str, Any]] = [
        {
            "method": "whole set",
            "ratio": 0.0,
            "source": 0.0,
            "select": 0.0,
            "train": whole["training_seconds"],
            "accuracy": whole["mean"],
        }
    ]
    for cell in report["cells"]:
        rows.append(
            {
                "method": cell["method"],
                "ratio": cell["ratio"],
                "source": _source_seconds(cell["method"], report["source_seconds"]),
                "select": cell["selection_seconds"],
                "train": cell["training_seconds"],
                "accuracy": cell["mean"],
            }
        )
    for row in rows:
        row["first"] = row["source"] + row["select"] + row["train"]
        # The kept set is used more than once: what each further training saves pays it back.
        saved = whole["training_seconds"] - row["train"]
        cost = row["source"] + row["select"]
        row["pays_after"] = cost / saved if saved > 0 else None
    with plot_style():
        s.write(s.folder_for("fig4", data, out), {"rows": rows}, _markdown(rows), _plots(rows))


def _plots(rows: list[dict[str, Any]]) -> dict[str, Any]:
    time, time_axes = figure_with_axes(
        "share of the training set removed", "seconds, selection and one training"
    )
    gain, gain_axes = figure_with_axes("seconds, selection and one training", "test accuracy")
    for method in dict.fromkeys(row["method"] for row in rows[1:]):
        some = sorted(
            (row for row in rows if row["method"] == method), key=lambda row: float(row["ratio"])
        )
        seconds, style = [row["first"] for row in some], method_style(method)
        time_axes.errorbar([row["ratio"] for row in some], seconds, label=method, **style)
        gain_axes.errorbar(seconds, [row["accuracy"] for row in some], label=method, **style)
    whole = {"color": "black", "lw": 0.8, "ls": ":", "label": "whole set"}
    time_axes.axhline(rows[0]["first"], **whole)
    gain_axes.axhline(rows[0]["accuracy"], **whole)
    percent_axis(time_axes, sorted({row["ratio"] for row in rows[1:]}))
    accuracy_scale(gain_axes)
    log_axes(time_axes, "y")
    log_axes(gain_axes, "x")
    legend_beside(time)
    legend_beside(gain)
    return {"time": time, "accuracy": gain}


def _source_seconds(method: str, seconds: list[float]) -> float:
    base = method.removesuffix("+quotas")
    if base == "random":
        return 0.0
    return sum(seconds) if base in AVERAGED else seconds[0]


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "Seconds; *pays after*: trainings on the kept set until the selection is paid back.",
        "",
        "| removed | method | source | select | train | accuracy | pays after |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(rows, key=lambda row: row["ratio"]):
        pays = "-" if row["pays_after"] is None else f"{row['pays_after']:.1f}"
        lines.append(
            f"| {row['ratio']:.0%} | {row['method']} | {row['source']:.1f} | {row['select']:.1f} "
            f"| {row['train']:.1f} | {row['accuracy']:.4f} | {pays} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    typer.run(main)
