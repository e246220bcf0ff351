"""Fig. 1: test accuracy against the share removed, all methods.

python benchmarks/paper/fig1.py digits
python benchmarks/paper/fig1.py glyphs
python benchmarks/paper/fig1.py cifar10 --folder DATA --device cuda
"""

from __future__ import annotations

import settings as s
import typer

from dprune.compare import compare
from dprune.compare_report import accuracy_plot, difference_plot
from dprune.compare_table import markdown
from dprune.report import plot_style, write_report


def main(
    data: s.Data,
    folder: s.Folder = None,
    out: s.Out = None,
    seeds: s.Seeds = None,
    epochs: s.Epochs = None,
    width: s.Width = None,
    samples: s.Samples = None,
    ratios: s.Ratios = None,
    methods: s.Methods = None,
    device: s.Device = "cpu",
    jobs: s.Jobs = 1,
) -> None:
    """Run what is missing, write JSON, Markdown, plots and report.html."""
    chosen = s.setting(
        data,
        seeds=seeds,
        epochs=epochs,
        width=width,
        samples=samples,
        ratios=ratios,
        methods=methods,
        device=device,
        jobs=jobs,
    )
    path = s.folder_for("fig1", data, out)
    report = compare(chosen.load(folder), chosen.plan, path, s.Say())
    with plot_style():
        plots = {"accuracy": accuracy_plot(report), "difference": difference_plot(report)}
        s.write(path, report, markdown(report), plots)
    print(write_report(path))


if __name__ == "__main__":
    typer.run(main)
