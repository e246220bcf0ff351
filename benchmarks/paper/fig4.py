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
from dprune.report import figure_with_axes, plot_style

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
        row["pays_after"] = cost / saved if saved > 0 else float("inf")
    with plot_style():
        figure, axes = figure_with_axes("seconds, selection and one training", "test accuracy")
        for method in dict.fromkeys(row["method"] for row in rows):
            some = [row for row in rows if row["method"] == method]
            axes.plot(
                [row["first"] for row in some],
                [row["accuracy"] for row in some],
                "o-",
                ms=3,
                lw=2 if method == "dprune" else 0.8,
                label=method,
            )
        axes.legend(frameon=False, fontsize=7)
        s.write(s.folder_for("fig4", data, out), {"rows": rows}, _markdown(rows), {"time": figure})


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
        lines.append(
            f"| {row['ratio']:.0%} | {row['method']} | {row['source']:.1f} | {row['select']:.1f} "
            f"| {row['train']:.1f} | {row['accuracy']:.4f} | {row['pays_after']:.1f} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    typer.run(main)
