"""A comparison's numbers: mean, spread, paired differences, the Markdown table."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats

_SIGNIFICANT = 0.05


def markdown(report: dict[str, Any]) -> str:
    """The accuracies as a Markdown table: methods down, ratios across; the best in bold."""
    cell = {(entry["method"], entry["ratio"]): entry for entry in report["cells"]}
    whole = report["whole"]
    lines = [
        f"{report['identity']['data']}, n = {report['n']}, {report['classes']} classes, "
        f"{report['seeds']} seeds; whole set {shown(whole)}.",
        "",
        "| removed | " + " | ".join(f"{ratio:.0%}" for ratio in report["ratios"]) + " |",
        "| --- |" + " --- |" * len(report["ratios"]),
    ]
    for method in report["methods"]:
        row = []
        for ratio in report["ratios"]:
            entry = cell[method, ratio]
            best = max(cell[other, ratio]["mean"] for other in report["methods"])
            text = f"**{shown(entry)}**" if entry["mean"] == best else shown(entry)
            if method == "dprune":
                text += f" (c = {entry['reweight']:g})"
            elif entry.get("significant"):
                text += " *"
            row.append(text)
        lines.append(f"| {method} | " + " | ".join(row) + " |")
    lines += ["", note(report), ""]
    return "\n".join(lines)


def shown(entry: dict[str, Any]) -> str:
    """A mean with its spread, if there is one."""
    text = f"{entry['mean']:.4f}"
    return text if entry["spread"] is None else f"{text} ± {entry['spread']:.4f}"


def note(report: dict[str, Any]) -> str:
    """What ± and the stars mean, and what the spread leaves out."""
    if report["seeds"] == 1:
        return "One seed: differences may be chance."
    return (
        "± is the standard deviation over seeds. "
        f"* differs from dprune: paired t-test over {report['seeds']} seeds, Benjamini-Hochberg "
        f"over the table, q < {_SIGNIFICANT:g}. Subsets other than random ones are the same for "
        "all seeds, so the spread is that of retraining, not of selecting."
    )


def summary(accuracies: list[float]) -> dict[str, float | None]:
    """Mean and standard deviation over seeds, None for one."""
    spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    return {"mean": float(np.mean(accuracies)), "spread": spread}


def add_differences(cells: list[dict[str, Any]]) -> None:
    """Paired by seed: dprune minus the other; p by t-test, corrected over the whole table."""
    ours = {cell["ratio"]: cell["accuracies"] for cell in cells if cell["method"] == "dprune"}
    others = [cell for cell in cells if cell["method"] != "dprune"]
    pairs = []
    for cell in others:
        gaps = np.subtract(ours[cell["ratio"]], cell["accuracies"])
        cell["difference"] = float(gaps.mean())
        if len(gaps) > 1:
            cell["standard_error"] = float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
            if gaps.std() > 1e-9:
                pairs.append((cell, float(scipy.stats.ttest_1samp(gaps, 0.0).pvalue)))
    if pairs:
        adjusted = scipy.stats.false_discovery_control([p for _, p in pairs])
        for (cell, p), q in zip(pairs, adjusted, strict=True):
            cell.update(p=p, q=float(q), significant=bool(q < _SIGNIFICANT))
