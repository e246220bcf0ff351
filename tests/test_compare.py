"""dprune compare on a few epochs: resumable, paired, reported."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import dprune
from dprune import choose, compare, compare_report, data, report, selector, train
from dprune._commands import app
from dprune.plan import Plan
from dprune.selection import BASELINES

METHODS = ("random", "random+quotas", *list(BASELINES)[1:], "el2n+quotas", "dprune")
PLAN = Plan(
    methods=METHODS,
    ratios=(0.5, 0.9),
    seeds=2,
    sources=2,
    choice_runs=1,
    recipe=train.Recipe(epochs=3),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def small():
    return data.digits().take(240)


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare")
    with pytest.MonkeyPatch.context() as patch:
        for module in (selector, choose):
            patch.setattr(module, "prune", functools.partial(dprune.prune, sweeps=400))
        compare.compare(small, PLAN, out)
    report.write_report(out)
    return out


def test_every_cell_is_filled(folder, small):
    found = json.loads((folder / "results.json").read_text())
    assert len(found["cells"]) == len(METHODS) * 2
    for cell in found["cells"]:
        assert len(cell["accuracies"]) == 2
        assert sum(cell["class_counts"]) == 240 - round(cell["ratio"] * 240)
        assert cell["mean"] == pytest.approx(np.mean(cell["accuracies"]))
        if "quotas" in cell["method"] or cell["method"] == "dprune":
            share = np.bincount(small.labels) * (1 - cell["ratio"])
            assert np.abs(np.array(cell["class_counts"]) - share).max() <= 1
    ours = {c["ratio"]: c for c in found["cells"] if c["method"] == "dprune"}
    for ratio, cell in ours.items():
        chosen = max(cell["validation"].values())
        assert cell["validation"][f"{cell['reweight']:g}"] == chosen
        saved = dprune.load(folder / "selections" / f"dprune-{ratio:g}.npz")
        assert saved.settings["reweight"] == cell["reweight"]
        assert saved.norm < saved.random_norm
        # The trainings of the choice count as time of selection.
        assert cell["selection_seconds"] > saved.seconds
    assert not list(folder.glob("checkpoint*"))


def test_differences_are_paired_by_seed(folder):
    found = json.loads((folder / "results.json").read_text())
    ours = {c["ratio"]: c["accuracies"] for c in found["cells"] if c["method"] == "dprune"}
    for cell in found["cells"]:
        if cell["method"] != "dprune":
            gaps = np.subtract(ours[cell["ratio"]], cell["accuracies"])
            assert cell["difference"] == pytest.approx(gaps.mean())
            assert cell["standard_error"] == pytest.approx(abs(gaps[0] - gaps[1]) / 2, abs=1e-12)


def test_a_second_call_goes_on_where_the_first_stopped(folder, small, monkeypatch):
    before = (folder / "results.json").read_text()
    progress = json.loads((folder / "progress.json").read_text())
    key = list(progress["runs"])[-1]
    lost = progress["runs"].pop(key)
    (folder / "progress.json").write_text(json.dumps(progress))
    lines = []
    compare.compare(small, PLAN, folder, lines.append)
    assert len(lines) == 1  # one training
    again = json.loads((folder / "progress.json").read_text())["runs"][key]
    assert again["accuracy"] == lost["accuracy"]
    strip = {"training_seconds", "seconds"}
    for a, b in zip(
        json.loads(before)["cells"],
        json.loads((folder / "results.json").read_text())["cells"],
        strict=True,
    ):
        assert {k: v for k, v in a.items() if k not in strip} == {
            k: v for k, v in b.items() if k not in strip
        }
    other = dataclasses.replace(PLAN, recipe=train.Recipe(epochs=4))
    with pytest.raises(ValueError, match="out must be empty or hold results of the same plan; rec"):
        compare.compare(small, other, folder)


def test_selections_are_shared_by_networks_that_do_not_select(folder, small, tmp_path):
    larger = dataclasses.replace(
        PLAN,
        methods=("random", "dprune"),
        ratios=(0.5,),
        width=8,
        source_network=PLAN.network,
        source_width=PLAN.width,
    )
    lines = []
    found = compare.compare(small, larger, tmp_path, lines.append, selections=folder)
    assert len(lines) == 2 * 3  # trainings: the whole set and two methods, two seeds each
    assert not (tmp_path / "selections").exists()
    before = json.loads((folder / "results.json").read_text())
    ours, theirs = (
        next(c for c in report["cells"] if c["method"] == "dprune") for report in (found, before)
    )
    assert ours["class_counts"] == theirs["class_counts"]
    assert ours["accuracies"] != theirs["accuracies"]
    other = dataclasses.replace(larger, source_width=4)
    with pytest.raises(ValueError, match=r"width is None in .*selections.json, expected 4"):
        compare.compare(small, other, tmp_path / "other", selections=folder)


def test_groups_are_held_out_together(small, tmp_path, monkeypatch):
    groups = np.arange(len(small.labels)) // 6
    grouped = dataclasses.replace(small, groups=groups)
    judged = []

    def trained_and_tested(data, plan, kept, seed, out, test):
        judged.append((kept, test))
        return {"accuracy": 0.5, "seconds": 0.0}

    for module in (selector, compare):
        monkeypatch.setattr(module, "train_and_test", trained_and_tested)
    plan = dataclasses.replace(PLAN, methods=("dprune",), ratios=(0.5,), seeds=1)
    compare.compare(grouped, plan, tmp_path)
    row_of = {image.tobytes(): k for k, image in enumerate(small.images)}
    choices = [(kept, test) for kept, test in judged if test[0] is not small.test_images]
    assert len(choices) == plan.holdouts * len(plan.candidates) * plan.choice_runs
    for kept, (images, _) in choices:
        held_out = [row_of[image.tobytes()] for image in images]
        assert not np.intersect1d(groups[held_out], groups[kept]).size


def test_page_and_table(folder):
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 2
    for outside in ('src="http', 'href="http', "<script", "url("):
        assert outside not in page.replace("url(#", "")
    table = (folder / "results.md").read_text()
    for method in METHODS:
        assert f"| {method} |" in table
        assert f">{method}</td>" in page


def test_plots_name_every_method_and_show_perfect_ones(folder):
    found = json.loads((folder / "results.json").read_text())
    found["cells"][0]["mean"] = 1.0  # an error of zero has no logarithm
    accuracy = compare_report.accuracy_plot(found)
    named = [text.get_text() for text in accuracy.legends[0].get_texts()]
    assert named == ["whole set", *METHODS]
    low, high = accuracy.axes[0].get_ylim()
    assert 0.0 <= low < 0.999 <= high < 1.0
    gain = compare_report.difference_plot(found)
    assert [text.get_text() for text in gain.legends[0].get_texts()] == list(METHODS[:-1])
    for figure in (accuracy, gain):
        ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
        assert ticks == ["50%", "90%"]


def test_command(tmp_path):
    arguments = "compare --samples 100 --methods random,dprune@0.5 --ratios .5 --seeds 1"
    arguments += f" --epochs 1 --least-steps 0 --sources 1 --out {tmp_path / 'out'}"
    outcome = CliRunner().invoke(app, arguments.split(), catch_exceptions=False)
    assert outcome.exit_code == 0
    for name in ("report.html", "results.md", "results.json"):  # one seed has no spread
        text = (tmp_path / "out" / name).read_text()
        assert "nan" not in text.lower()
        assert "±" not in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ("elzn",)}, "methods must be among dprune, .* found 'elzn'"),
        ({"methods": ("dprune@2",)}, r"methods must give dprune@ a number in \[0, 1\]"),
        ({"ratios": (1.0,)}, r"ratios must lie in \(0, 1\), found 1.0"),
        ({"seeds": 0}, "seeds must be at least 1, found 0"),
    ],
)
def test_bad_plans_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Plan(**settings)
