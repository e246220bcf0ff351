"""curve(): one certified result a fraction, and its picture."""

import numpy as np
import pytest

import dprune

S = np.random.default_rng(0).standard_normal((300, 12)).astype(np.float32)


def test_one_result_a_fraction():
    c = dprune.curve(S, [0.1, 0.5, 0.8], sweeps=50, reweight=1.0)
    assert len(c) == 3
    assert [len(r.removed) for r in c] == [30, 150, 240]
    assert c.fractions == pytest.approx([0.1, 0.5, 0.8])
    assert (c.norms < 0.2 * c.random_norms).all()
    one = dprune.prune(S, fraction=0.5, sweeps=50, reweight=1.0)
    assert c.norms[1] == one.norm


def test_plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    ax = dprune.curve(S, [0.2, 0.4], sweeps=5).plot()
    assert len(ax.lines) == 2
    assert list(ax.lines[0].get_xdata()) == pytest.approx([0.2, 0.4])


def test_bad_input():
    with pytest.raises(ValueError, match="fractions must hold"):
        dprune.curve(S, [])
    with pytest.raises(TypeError, match="found m as well"):
        dprune.curve(S, [0.2], m=3)
