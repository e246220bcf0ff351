"""Fig. 3: pruned with a small network, trained on larger ones.

The setting's first network selects (its influence, its choice of reweight), once; every network
is then trained on the same kept sets.

python benchmarks/paper/fig3.py digits
python benchmarks/paper/fig3.py cifar10 --folder DATA --device cuda
"""

from __future__ import annotations

from dataclasses import replace

import settings as s
import typer

from dprune.compare import compare
from dprune.compare_report import accuracy_plot
from dprune.compare_table import markdown
from dprune.report import plot_style

METHODS = ("random", "random+quotas", "el2n+quotas", "forgetting+quotas", "dprune")


def main(
    data: s.Data = "digits",
    folder: s.Folder = None,
    out: s.Out = None,
    seeds: s.Seeds = None,
    epochs: s.Epochs = None,
    samples: s.Samples = None,
    ratios: s.Ratios = ".5,.7,.9",
    device: s.Device = "cpu",
    jobs: s.Jobs = 1,
) -> None:
    """Compare once a network, with one source."""
    chosen = s.setting(
        data, seeds=seeds, epochs=epochs, samples=samples, ratios=ratios, device=device, jobs=jobs
    )
    path, say = s.folder_for("fig3", data, out), s.Say()
    images = chosen.load(folder)
    name, width = chosen.networks[0]
    reports, plots, text = {}, {}, []
    for network, its_width in chosen.networks:
        title = network if its_width is None else f"{network}-{its_width}"
        plan = replace(
            chosen.plan,
            methods=METHODS,
            network=network,
            width=its_width,
            source_network=name,
            source_width=width,
        )
        reports[title] = compare(images, plan, path / title, say, selections=path)
        with plot_style():
            plots[title] = accuracy_plot(reports[title])
        text.append(f"Trained: {title}\n\n{markdown(reports[title])}")
    source = name if width is None else f"{name}-{width}"
    with plot_style():
        s.write(path, reports, f"Pruned with {source}.\n\n" + "\n".join(text), plots)


if __name__ == "__main__":
    typer.run(main)
