"""The demo on a few epochs: the same way from data to report, minutes shorter."""

from __future__ import annotations

import functools
import io
import json

import numpy as np
import pytest
from rich.console import Console

import dprune

pytest.importorskip("torch")
from dprune import demo, report, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "RECIPE", train.Recipe(epochs=2))
        patch.setattr(demo, "WORKERS", 1)
        patch.setattr(demo, "CHOICE_SEEDS", (10,))
        patch.setattr(demo, "CHOICE_SWEEPS", 20)
        patch.setattr(demo, "prune", functools.partial(dprune.prune, sweeps=400))
        console = Console(file=io.StringIO(), width=80)
        demo.run(out, console)
        (out / "terminal.txt").write_text(console.file.getvalue())
    return out


def test_results(folder):
    found = json.loads((folder / "results.json").read_text())
    runs = found["runs"]
    for fraction in demo.FRACTIONS:
        m = round(fraction * found["n"])
        same = [run for run in runs if run["removed"] == m]
        assert [run["reweight"] for run in same] == [*demo.CANDIDATES, None]
        chosen = [run for run in same if run.get("chosen")]
        assert len(chosen) == 1
        assert chosen[0]["validation"] == max(run.get("validation", 0) for run in same)
        saved = dprune.load(folder / f"removed-{fraction:.0%}.npz")
        assert saved.settings["reweight"] == chosen[0]["reweight"]
        assert len(saved.removed) == m
        for run in same:
            assert len(run["accuracies"]) == len(demo.SEEDS)
            assert run["mean"] == pytest.approx(np.mean(run["accuracies"]))
            assert sum(run["class_counts"]) == found["n"] - m
            assert run["test_gap"] <= run["bound"]
    within = dprune.load(folder / "within-eps.npz")
    assert within.norm <= found["eps"]
    assert within.random_norm > within.norm
    assert len(within.removed) > 0


def test_page_is_self_contained(folder):
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 3
    assert page.count("data:image/png;base64,") == 24
    for outside in ('src="http', 'href="http', "<script", "url("):
        assert outside not in page.replace("url(#", "")
    assert "(chosen)" in page


def test_page_can_be_rendered_again(folder):
    before = (folder / "report.html").read_text()
    report.write_report(folder)
    assert (folder / "report.html").read_text() == before


def test_terminal(folder):
    text = (folder / "terminal.txt").read_text()
    assert "whole set" in text
    assert "reweight 0.5" in text
    assert "report.html" in text
