"""Squared loss, sample weights, leverage, sketches, LiSSA, and runs that are killed."""

import dataclasses
import json
import sys

import numpy as np
import pytest

import dprune
import influence_oracle as oracle
from dprune import _resume, direct, iterative, sketch


@pytest.fixture(scope="module")
def wine():
    return oracle.head("wine", 1e-2)


def weighted(name, count=None, **settings):
    X, y = oracle.data(name, count)
    class_weights = np.linspace(0.5, 2.0, y.max() + 1)
    weights = class_weights[y] * np.random.default_rng(1).uniform(0.5, 1.5, len(y))
    return dprune.LastLayer.fit(X, y, 1e-2, sample_weights=weights, **settings)


@pytest.mark.parametrize("criterion", ["softmax", "squared"])
def test_weighted_fit_is_a_minimum(criterion):
    head = weighted("wine", criterion=criterion)
    full = oracle.gradients(head).mean(axis=0) + head.weight_decay * head.theta.ravel()
    assert np.linalg.norm(full) < 2e-8
    assert np.linalg.norm(head.gradient) < 2e-8


def test_doubled_weight_is_a_repeated_sample():
    X, y = oracle.data("wine")
    weights = np.ones(len(y))
    weights[:20] = 2.0
    twice = np.concatenate([np.arange(len(y)), np.arange(20)])
    head = dprune.LastLayer.fit(X, y, 1e-2, sample_weights=weights)
    # The mean runs over n samples, not over n + 20.
    scale = len(twice) / len(y)
    repeated = dprune.LastLayer.fit(X[twice], y[twice], 1e-2 / scale)
    np.testing.assert_allclose(head.theta, repeated.theta, atol=1e-6)


@pytest.mark.parametrize("method", ["dense", "pcg"])
@pytest.mark.parametrize("name", ["wine", "digits"])
def test_weighted_rows(name, method):
    head = weighted(name, 300)
    truth = oracle.in_contrasts(head, oracle.rows(head))
    error = oracle.relative_error(dprune.influence(head, method), truth)
    assert error < (1e-5 if method == "dense" else 1e-3)


@pytest.mark.parametrize("inverse", [False, True])
def test_rows_by_the_inverse_and_by_solves(wine, inverse, monkeypatch):
    monkeypatch.setattr(direct, "_INVERSE_ROWS", 0 if inverse else 1000)
    S = dprune.influence(wine, "dense")
    assert oracle.relative_error(S, oracle.in_contrasts(wine, oracle.rows(wine))) < 1e-5
    assert S.error < 2e-6


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("leverage", [False, True])
def test_squared_loss_has_exact_factors(weights, leverage):
    if weights:
        head = weighted("wine", criterion="squared")
    else:
        head = oracle.head("wine", criterion="squared")
    S = dprune.influence(head, leverage=leverage)
    assert S.method == "kfac"
    assert "squared" in S.reason
    assert not S.approximate
    assert S.shape == (head.n, head.theta.size)
    truth = oracle.rows(head) if not leverage else oracle.leave_one_out_newton(head)
    assert oracle.relative_error(S, truth) < 1e-5
    np.testing.assert_array_equal(S.expand(), np.asarray(S))


def test_squared_change_is_the_sum_of_rows():
    head = oracle.head("wine", criterion="squared")
    removed = np.arange(0, head.n, 3)
    change = head.change(removed, reweight=0.0)
    np.testing.assert_allclose(
        change.theta.ravel(), oracle.rows(head)[removed].sum(axis=0), atol=1e-9
    )


@pytest.mark.parametrize("make", [lambda: oracle.head("wine", 1e-2), lambda: weighted("wine")])
def test_leverage_is_one_newton_step_without_the_sample(make):
    head = make()
    S = dprune.influence(head, "dense", leverage=True)
    truth = oracle.in_contrasts(head, oracle.leave_one_out_newton(head))
    assert oracle.relative_error(S, truth) < 1e-5


@pytest.mark.parametrize("weight_decay", [1e-2, 5e-4])
def test_leverage_predicts_single_removals(weight_decay):
    """Self-influence of the corrected rows beside refitted heads."""
    wine = oracle.head("wine", weight_decay)
    S = np.asarray(dprune.influence(wine, "dense", leverage=True).expand(), dtype=float)
    plain = np.asarray(dprune.influence(wine, "dense").expand(), dtype=float)
    removed = range(0, wine.n, 9)
    true = []
    for i in removed:
        # The kept samples keep their weight 1 / n, as in Eq. 2.
        kept = np.delete(np.arange(wine.n), i)
        scale = len(kept) / wine.n
        X, y = wine.features[kept], wine.labels[kept]
        refit = dprune.LastLayer.fit(X, y, wine.weight_decay / scale, classes=wine.classes)
        true.append(np.linalg.norm(refit.theta - wine.theta))
    corrected = np.linalg.norm(S[list(removed)], axis=1)
    first = np.linalg.norm(plain[list(removed)], axis=1)
    assert np.corrcoef(corrected, true)[0, 1] > 0.99
    assert np.abs(corrected - true).max() < np.abs(first - true).max()


@pytest.mark.parametrize("method", ["dense", "pcg"])
def test_sketch(wine, method):
    S = oracle.in_contrasts(wine, oracle.rows(wine))
    best = np.linalg.svd(S, compute_uv=False) ** 2
    leading = dprune.influence(wine, method, rank=6)
    assert leading.shape == (wine.n, 6)
    assert leading.approximate
    P = leading.basis
    np.testing.assert_allclose(P.T @ P, np.eye(6), atol=1e-5)
    np.testing.assert_allclose(leading.rows, S @ P, atol=1e-3 * np.abs(S).max())
    captured = np.sum(leading.rows.astype(float) ** 2) / best.sum()
    # pcg searches in the metric of the Kronecker factors.
    assert captured > (0.9 if method == "dense" else 0.7) * best[:6].sum() / best.sum()
    assert leading.left_out == pytest.approx(1 - captured, rel=0.5)
    assert leading.residuals.max() < 1.1e-4
    energies = np.sum(leading.rows.astype(float) ** 2, axis=0)
    assert (np.diff(energies) <= 0).all()
    result = dprune.prune(leading, m=50, reweight=1, sweeps=200)
    full = S - S.mean(axis=0)
    exact = np.linalg.norm(full[result.removed].sum(axis=0)) / (1 - 50 / wine.n)
    assert result.exact_norm == pytest.approx(exact, rel=1e-5)
    assert result.norm <= exact * 1.001


def test_guesses_are_solves_in_single_precision(wine):
    inverse = sketch.DirectInverse(direct.direct_solver(wine.hessian, wine.contrast_errors))
    rhs = np.random.default_rng(0).standard_normal((wine.hessian.width, 5))
    guess, solution = inverse.guess(rhs), inverse.solve(rhs).solution
    assert guess.dtype == np.float32
    np.testing.assert_allclose(guess, solution, atol=1e-5 * np.abs(solution).max())
    assert solution.dtype == np.float64
    np.testing.assert_allclose(wine.hessian.product(solution), rhs, atol=1e-5)


def test_solves_for_directions_are_repeated_in_float64_where_float32_falls_short(wine, monkeypatch):
    solver = direct.direct_solver(wine.hessian, wine.contrast_errors)
    rhs = np.random.default_rng(0).standard_normal((wine.hessian.width, 5))
    single = sketch.DirectInverse(solver).solve(rhs)
    monkeypatch.setattr(sketch, "_DIRECT_TOLERANCE", 0.0)
    double = sketch.DirectInverse(solver).solve(rhs)
    assert double.residuals.max() < single.residuals.max() < 1e-5
    np.testing.assert_array_equal(double.solution, solver.solve(rhs))


def test_full_rank_sketch_is_all_of_it(wine):
    width = wine.hessian.width
    whole = dprune.influence(wine, "dense", rank=width)
    assert abs(whole.left_out) < 1e-10
    truth = oracle.in_contrasts(wine, oracle.rows(wine))
    np.testing.assert_allclose(whole.rows @ whole.basis.T, truth, atol=1e-5 * np.abs(truth).max())
    np.testing.assert_allclose(whole.expand(), oracle.rows(wine), atol=1e-5)


def test_lissa_states_its_error(wine):
    S = dprune.influence(wine, "lissa")
    truth = oracle.in_contrasts(wine, oracle.rows(wine))
    assert S.approximate
    assert 0 < S.error <= oracle.relative_error(S, truth) * 1.01
    assert np.median(S.residuals) < 0.05


def test_lissa_reports_divergence(wine, monkeypatch):
    monkeypatch.setattr(iterative, "_LISSA_MARGIN", 0.2)
    with pytest.raises(RuntimeError, match="LiSSA diverged after"):
        dprune.influence(wine, "lissa")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["dense", "pcg"])
def test_a_killed_run_goes_on(wine, method, dtype, tmp_path, monkeypatch):
    module, name, value = {
        "dense": (direct, "_BLOCK_ENTRIES", 1),
        "pcg": (iterative, "_COLUMNS", 64),
    }[method]
    monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(_resume, "_FLUSH_SECONDS", 0.0)
    path = tmp_path / "S.npy"
    advance = _resume.ResumableFile.advance

    def killed(self, done):
        advance(self, done)
        if done == 128:
            raise KeyboardInterrupt

    monkeypatch.setattr(_resume.ResumableFile, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        dprune.influence(wine, method, out=path, dtype=dtype)
    assert not path.exists()
    assert json.loads((tmp_path / "S.npy.part.json").read_text())["done"] == 128
    # Marked, so that a row computed again would show.
    part = np.load(tmp_path / "S.npy.part", mmap_mode="r+")
    part[0] = 7.0 if dtype == "float32" else 0x40E0  # the bits of 7
    part.flush()
    monkeypatch.setattr(_resume.ResumableFile, "advance", advance)
    S = dprune.influence(wine, method, out=path, dtype=dtype)
    assert (np.asarray(S)[0] == 7.0).all()
    truth = np.asarray(dprune.influence(wine, method, dtype=dtype))
    found = np.asarray(dprune.open_rows(path))
    step = 1e-5 if dtype == "float32" else 2**-7
    np.testing.assert_allclose(found[1:], truth[1:], atol=step * np.abs(truth).max())
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"S.npy"} | ({"S.npy.json"} if dtype == "bfloat16" else set())


@pytest.mark.parametrize("settings", [{"method": "dense"}, {"method": "pcg"}, {"rank": 5}])
def test_bfloat16_rows_are_the_rounded_ones(wine, settings, tmp_path):
    truth = dprune.influence(wine, **settings).rows
    path = tmp_path / "S.npy"
    S = dprune.influence(wine, **settings, out=path, dtype="bfloat16")
    assert S.dtype == "bfloat16"
    assert S.shape == truth.shape
    mapped = dprune.open_rows(path)
    assert isinstance(mapped, dprune.BFloat16Rows)
    np.testing.assert_array_equal(mapped.bits, dprune.BFloat16Rows.rounded(truth).bits)
    np.testing.assert_array_equal(np.asarray(S), np.asarray(mapped))
    np.testing.assert_allclose(np.asarray(S), truth, rtol=2**-8)
    memory = dprune.BFloat16Rows(np.zeros(truth.shape, dtype=np.uint16))
    assert dprune.influence(wine, **settings, out=memory, dtype="bfloat16").rows.bits is memory.bits
    np.testing.assert_array_equal(memory.bits, mapped.bits)
    # The solver works on them, and the certificate that is a solve is that of exact rows.
    result = dprune.prune(S, m=60, reweight=1, sweeps=100)
    assert result.settings["dtype"] == "bfloat16"
    assert result.exact_norm == pytest.approx(wine.change(result.removed).norm, rel=1e-9)
    # float32 rows in its place are read as such.
    dprune.influence(wine, **settings, out=path)
    np.testing.assert_array_equal(dprune.open_rows(path), truth)


def test_bfloat16_expand(wine):
    exact = dprune.influence(wine, "dense").expand()
    half = dprune.influence(wine, "dense", dtype="bfloat16").expand()
    assert np.linalg.norm(half - exact) < 4e-3 * np.linalg.norm(exact)


def test_progress_of_another_head_is_not_taken_up(wine, tmp_path):
    file = _resume.ResumableFile(tmp_path / "S.npy", (wine.n, wine.hessian.width), "f4", "other")
    file.advance(100)
    file.flush()
    S = dprune.influence(wine, "dense", out=tmp_path / "S.npy")
    truth = dprune.influence(wine, "dense").rows
    np.testing.assert_array_equal(S.rows, truth)


def test_auto_says_why(wine, monkeypatch):
    S = dprune.influence(wine)
    assert S.method == "dense"
    assert "N = 28" in S.reason
    module = sys.modules["dprune.method"]
    monkeypatch.setattr(module, "free_memory", lambda: 1e3)
    S = dprune.influence(wine)
    assert S.method == "kfac"
    assert "GB" in S.reason
    monkeypatch.setattr(module, "free_memory", lambda: 4.1 * wine.n * 28 / 0.7)
    assert dprune.influence(wine).method == "pcg"


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"rank": 0}, ValueError, r"rank must lie in 1\.\.28, found 0"),
        ({"rank": 29}, ValueError, r"rank must lie in 1\.\.28"),
        ({"rank": 2.0}, TypeError, "rank must be an integer, found float"),
        ({"rank": 2, "method": "kfac"}, ValueError, "rank needs method 'dense' or 'pcg'"),
        ({"leverage": True, "method": "pcg"}, ValueError, "leverage needs method 'dense'"),
        ({"method": "kfac", "out": "x.npy"}, ValueError, "out is for rows"),
        ({"out": 3}, TypeError, "out must be an array or a path, found int"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of float32, bfloat16, found"),
        ({"dtype": "bfloat16", "method": "kfac"}, ValueError, "dtype is for rows"),
        (
            {"dtype": "bfloat16", "out": np.zeros((178, 28), dtype=np.float32)},
            ValueError,
            r"out must be a C-contiguous bfloat16 array of shape \(178, 28\), found float32",
        ),
    ],
)
def test_bad_options(wine, settings, error, match):
    with pytest.raises(error, match=match):
        dprune.influence(wine, **settings)


@pytest.mark.parametrize(
    ("weights", "error", "match"),
    [
        (np.ones(3), ValueError, r"sample_weights must have shape \(178,\)"),
        (np.zeros(178), ValueError, "sample_weights must be positive and finite, found 0.0 in row"),
        (np.full(178, "a"), TypeError, "sample_weights must be real numbers"),
    ],
)
def test_bad_weights(weights, error, match):
    X, y = oracle.data("wine")
    with pytest.raises(error, match=match):
        dprune.LastLayer.fit(X, y, 1e-2, sample_weights=weights)


def test_half_precision_features():
    X, y = oracle.data("wine")
    half = dprune.LastLayer.fit(X.astype(np.float16), y, 1e-2)
    single = dprune.LastLayer.fit(X.astype(np.float16).astype(np.float32), y, 1e-2)
    np.testing.assert_allclose(half.theta, single.theta, atol=1e-9)


def test_dominating_weight_decay_warns():
    head = oracle.head("wine", 50.0)
    with pytest.warns(UserWarning, match=r"weight_decay=50 dominates the head's curvature.*scale"):
        dprune.influence(head)


def test_saturated_head_warns():
    fitted = oracle.head("wine", 1e-3)
    head = dataclasses.replace(fitted, theta=100 * fitted.theta)
    with pytest.warns(UserWarning, match=r"the head saturates.*refit=True"):
        dprune.influence(head)


def test_separable_without_weight_decay_is_an_error():
    X, y = oracle.data("wine")
    with pytest.raises(ValueError, match=r"found 0\.0: without it .* classes are separable"):
        dprune.LastLayer.fit(X, y, 0.0)
    # Every feature twice, and next to no weight decay.
    head = dprune.LastLayer(np.hstack([X, X]), y, 1e-25, np.zeros((3, 27)))
    with pytest.raises(ValueError, match=r"Hessian is singular to working precision.*raise weight"):
        dprune.influence(head, "dense")


def test_prune_head_measures():
    head = oracle.head("digits", 1e-2, 400)
    pruned = dprune.prune_head(head, 0.4, sweeps=300)
    refit = head.subset(pruned.result.kept)
    assert np.linalg.norm(refit.theta - head.theta) <= 0.4
    assert pruned.check.change <= 0.4
    assert pruned.rounds >= 1
    with pytest.raises(ValueError, match="eps must be positive"):
        dprune.prune_head(head, 0.0)


@pytest.mark.parametrize("weighted", [False, True])
def test_single_precision_meets_its_tolerance(weighted):
    """Float32 products, refined: residuals are those of float64 products."""
    weights = np.random.default_rng(1).uniform(0.5, 2.0, 150) if weighted else None
    X, y = oracle.data("digits", 150)
    head = dprune.LastLayer.fit(X, y, 1e-6, sample_weights=weights)
    rhs = np.random.default_rng(0).standard_normal((head.hessian.width, 7))
    solve = head.hessian.solve(rhs, tol=1e-5)
    assert solve.residuals.max() < 1.1e-5
    np.testing.assert_allclose(solve.residuals, head.hessian.residuals(solve.solution, rhs))
