"""The scripts of benchmarks/paper, end to end on next to nothing."""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import dprune
from dprune import choose, selector, train

PAPER = Path(__file__).parents[1] / "benchmarks" / "paper"
TINY = {"seeds": 1, "epochs": 1, "samples": 80, "ratios": "0.5"}


@pytest.fixture(autouse=True)
def scripts(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(PAPER), *sys.path])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    import settings

    monkeypatch.setattr(settings, "RESULTS", tmp_path)
    hasty = functools.partial(dprune.prune, sweeps=200)
    for module in (dprune, selector, choose):
        monkeypatch.setattr(module, "prune", hasty)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("data", "n", "classes"),
    [("cifar10", 100, 10), ("cifar100", 1000, 100), ("tiny-imagenet", 50, 5)],
)
def test_fig1_on_files_as_distributed_then_again(tmp_path, capsys, monkeypatch, data, n, classes):
    import fig1
    import settings as s
    import stand_in

    few = replace(
        s.SETTINGS[data].plan,
        methods=("random", "el2n+quotas", "dprune"),
        sources=1,
        candidates=(0.0, 1.0),
        choice_runs=1,
        holdouts=2,
        rows="kfac",
    )
    monkeypatch.setitem(s.SETTINGS, data, replace(s.SETTINGS[data], plan=few))
    if data == "tiny-imagenet":
        stand_in.tiny_imagenet(tmp_path, 0.02, classes=5)
    elif data == "cifar100":
        stand_in.cifar100(tmp_path, 0.02)
    else:
        stand_in.cifar10(tmp_path, 0.002)
    settings = {"seeds": 1, "epochs": 1, "ratios": "0.5", "width": 2}
    for trainings in ("dprune", None):  # the second time nothing is left to do
        fig1.main(data, folder=tmp_path, out=tmp_path / "out", **settings)
        lines = [line for line in capsys.readouterr().out.splitlines() if " s  " in line]
        assert bool(lines) == bool(trainings)
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["identity"]["network"] == "resnet50"
    assert found["identity"]["recipe"]["crop"] == 4
    assert (found["n"], found["classes"]) == (n, classes)
    assert "| dprune |" in (tmp_path / "out" / "results.md").read_text()
    assert (tmp_path / "out" / "accuracy.svg").is_file()


def test_fig2_counts_what_holds(tmp_path):
    import fig2

    fig2.main("digits", epochs=1, samples=150, ratios="0.5", linear=True, weight_decay=0.05)
    found = json.loads((tmp_path / "fig2-linear-digits" / "results.json").read_text())
    assert found["subsets"] == 18
    assert found["within_bound"] == found["subsets"]
    assert found["spearman_change_1"] > max(0.8, found["spearman_change_0"])
    assert found["spearman_newton"] > 0.95
    assert all(factor > 1 for factor in found["random_over_ours"].values())


def test_fig3_selects_once_with_the_small_network(tmp_path, capsys):
    import fig3

    fig3.main("digits", **TINY)
    assert capsys.readouterr().out.count("50% removed, validation:") == 1
    found = json.loads((tmp_path / "fig3-digits" / "results.json").read_text())
    assert list(found) == ["small-8", "small-32", "senet-16"]
    assert len({json.dumps(r["cells"][-1]["class_counts"]) for r in found.values()}) == 1
    assert {r["identity"]["source_width"] for r in found.values()} == {8}


def test_fig4_counts_what_a_selection_costs(tmp_path, monkeypatch):
    import fig4
    import settings as s

    quick = replace(
        s.SETTINGS["digits"].plan,
        methods=("random", "el2n+quotas", "dprune@0.5"),
        sources=2,
        recipe=train.Recipe(epochs=1),
    )
    monkeypatch.setitem(s.SETTINGS, "digits", replace(s.SETTINGS["digits"], plan=quick, samples=80))
    fig4.main("digits", seeds=1, ratios="0.5,0.8")
    rows = json.loads((tmp_path / "fig4-digits" / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["whole set", *quick.methods * 2]
    source = json.loads((tmp_path / "fig1-digits" / "results.json").read_text())["source_seconds"]
    for row in rows:  # EL2N averages over both networks, the influence is of the first
        base = {"el2n+quotas": sum(source), "dprune@0.5": source[0]}.get(row["method"], 0.0)
        assert row["source"] == base
        assert row["first"] == pytest.approx(base + row["select"] + row["train"])
        saved = rows[0]["train"] - row["train"]
        expected = (base + row["select"]) / saved if saved > 0 else None
        assert row["pays_after"] == (None if expected is None else pytest.approx(expected))
    for plot in ("time", "accuracy"):
        assert (tmp_path / "fig4-digits" / f"{plot}.svg").is_file()


def test_fig4_times_resnet18_on_glyphs(tmp_path, monkeypatch):
    import fig4
    import matplotlib as mpl
    import settings as s

    full = s.SETTINGS["glyphs-50k"]
    assert (full.samples, full.plan.network) == (50_000, "resnet18")
    few = replace(
        full,
        plan=replace(full.plan, width=2, recipe=replace(full.plan.recipe, epochs=1)),
        samples=144,
        options={**full.options, "variants": 1, "cache": tmp_path / "glyphs.npz"},
    )
    monkeypatch.setitem(s.SETTINGS, "glyphs-50k", few)
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    arguments = {"seeds": 1, "ratios": "0.5", "methods": "random,dprune@1"}
    fig4.main("glyphs-50k", folder=fonts, **arguments)
    rows = json.loads((tmp_path / "fig4-glyphs-50k" / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["whole set", "random", "dprune@1"]
    assert all(row["train"] > 0 for row in rows)
    assert (tmp_path / "glyphs.npz").is_file()


def test_table1_can_be_sent_to_workers(monkeypatch):
    import cloudpickle
    import table1

    # As when the file is run as a script: by value, with all it refers to.
    monkeypatch.setattr(table1._trained_and_tested, "__module__", "__main__")
    assert cloudpickle.dumps(table1._trained_and_tested)


def test_table1_ranks_the_space(tmp_path):
    import table1

    table1.main("digits", epochs=1, networks=8, per_class=8, widths="4,8")
    rows = json.loads((tmp_path / "table1-digits" / "results.json").read_text())["rows"]
    names = ["whole", "random", "herding", "forgetting", "dprune", "dprune@1"]
    assert [row["proxy"] for row in rows] == names
    assert all(row["images"] == 80 for row in rows[1:])
    assert rows[0]["spearman_all"] == pytest.approx(1.0)
