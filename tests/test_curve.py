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
    # The first size is what prune() gives; the others go on from there, in rising order.
    one = dprune.prune(S, fraction=0.1, sweeps=50, reweight=1.0)
    assert c.norms[0] == one.norm
    assert c.results[0].fingerprint == c.results[2].fingerprint == one.fingerprint
    for r in c:
        u = S[r.removed].sum(axis=0, dtype=np.float64)
        u -= len(r.removed) * S.mean(axis=0, dtype=np.float64)
        assert r.norm == pytest.approx(np.linalg.norm(u) / (1 - len(r.removed) / 300), rel=1e-6)


def test_in_any_order_and_on_any_threads():
    c = dprune.curve(S, [0.8, 0.1, 0.5], sweeps=30)
    assert [len(r.removed) for r in c] == [240, 30, 150]
    other = dprune.curve(S, [0.1, 0.5, 0.8], sweeps=30, threads=4)
    assert sorted(c.norms) == sorted(other.norms)
    assert (c.results[2].mask == other.results[1].mask).all()


def test_each_size_has_the_time_limit():
    c = dprune.curve(S, [0.2, 0.4], sweeps=10**8, time_limit=0.2)
    assert all(r.status == "time_limit" for r in c)
    assert all(0.1 < r.seconds < 10 for r in c)


def test_plot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    ax = dprune.curve(S, [0.2, 0.4], sweeps=5).plot()
    assert len(ax.lines) == 2
    assert list(ax.lines[0].get_xdata()) == pytest.approx([0.2, 0.4])


def test_bad_input():
    with pytest.raises(ValueError, match="fractions must hold"):
        dprune.curve(S, [])
    with pytest.raises(TypeError, match="colour"):
        dprune.curve(S, [0.2], colour=1)
    with pytest.raises(ValueError, match=r"fraction must lie in \[0, 1\], found 1.5"):
        dprune.curve(S, [0.2, 1.5])
    with pytest.raises(TypeError, match="found m as well"):
        dprune.curve(S, [0.2], m=3)
