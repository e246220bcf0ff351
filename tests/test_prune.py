"""prune() against enumeration, its certificates, its endings and its complaints."""

from __future__ import annotations

import signal
import threading
import time
import warnings

import numpy as np
import pytest

import dprune
import oracle


def random_instance(seed: int):
    """Rows, size, reweight and rules of a random small problem."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 17))
    S = rng.standard_normal((n, int(rng.integers(1, 7))))
    S *= np.exp(rng.standard_normal((n, 1)) * rng.choice([0.0, 1.0]))
    S += rng.standard_normal(S.shape[1]) * rng.choice([0.0, 0.5])
    S = S.astype(np.float32)
    rules: dict[str, object] = {}
    if rng.random() < 0.6:
        rules["groups"] = rng.integers(0, 3, n) * 5 - 5
        if rng.random() < 0.6:
            rules["balance"] = "proportional"
        rules["min_keep"] = int(rng.integers(0, 3))
    if rng.random() < 0.4:
        rules["protect"] = rng.random(n) < 0.25
    reweight = float(rng.choice([0.0, 0.5, 1.0]))
    masks = oracle.all_masks(n)
    sizes = masks[oracle.feasible(masks, **rules)].sum(axis=1)
    most = int(sizes.max())
    return S, most, reweight, rules, rng


@pytest.mark.parametrize("solver", ["block", "anneal"])
@pytest.mark.parametrize("seed", range(120))
def test_fixed_size_equals_enumeration(seed, solver):
    S, most, reweight, rules, rng = random_instance(seed)
    if most == 0:
        pytest.skip("nothing may be removed")
    m = int(rng.integers(1, min(most, len(S) - 1) + 1))
    r = dprune.prune(S, m=m, reweight=reweight, solver=solver, **rules)
    masks = r.mask[None].astype(float)
    assert oracle.feasible(masks, **rules).all()
    assert r.mask.sum() == m
    best = oracle.best_of_size(S, m, reweight, **rules)
    assert r.norm == pytest.approx(best, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("solver", ["block", "anneal"])
@pytest.mark.parametrize("seed", range(120))
def test_budget_equals_enumeration(seed, solver):
    S, most, reweight, rules, rng = random_instance(1000 + seed)
    if most == 0:
        pytest.skip("nothing may be removed")
    eps = float(rng.choice([0.3, 1.0, 2.0]) * np.sqrt((S.astype(float) ** 2).sum(axis=1).mean()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate instances are instances too
        r = dprune.prune(S, eps, reweight=reweight, solver=solver, **rules)
    assert r.norm <= eps
    assert oracle.feasible(r.mask[None].astype(float), **rules).all()
    assert len(r.removed) == oracle.most_within(S, eps, reweight, **rules)
    assert len(r.removed) <= r.upper_bound < len(S)


@pytest.mark.parametrize("reweight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_certificate(reweight, dtype):
    rng = np.random.default_rng(5)
    S = (rng.standard_normal((400, 37)) * rng.exponential(size=(400, 1)) + 0.1).astype(dtype)
    r = dprune.prune(S, fraction=0.4, reweight=reweight, sweeps=50)
    W = np.zeros(400)
    W[r.removed] = 1.0
    exact = np.asarray(S, dtype=np.longdouble)
    raw = np.linalg.norm((W @ exact).astype(float))
    centred = (W @ (exact - reweight * exact.mean(axis=0))).astype(float)
    scale = np.sqrt(160 * float((exact[r.removed] ** 2).sum()))
    assert abs(r.raw_norm - raw) <= 1e-10 * scale
    assert abs(r.norm - np.linalg.norm(centred) / (1 - reweight * 0.4)) <= 1e-10 * scale
    assert r.trace["norm"][-1] == pytest.approx(r.norm, rel=1e-3)


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"protect": np.arange(10) < 2},
        {"groups": np.arange(10) % 3, "balance": "proportional"},
        {
            "groups": np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1]),
            "balance": "proportional",
            "min_keep": 2,
            "protect": np.arange(10) == 9,
        },
    ],
)
@pytest.mark.parametrize("reweight", [0.0, 0.5, 1.0])
def test_random_norm_is_the_mean_over_all_subsets(rules, reweight):
    S = np.random.default_rng(1).standard_normal((10, 4)) + 0.3
    r = dprune.prune(S, m=4, reweight=reweight, sweeps=5, **rules)
    expected = oracle.random_mean_square(S, 4, reweight, **rules)
    assert r.random_norm == pytest.approx(expected, rel=1e-12)


def test_random_norm_with_a_floor_that_binds():
    # Group 1 (3 samples, 2 kept) can give only one of the 8 that go: a stratum of its own.
    S = np.random.default_rng(2).standard_normal((12, 3))
    groups = np.array([0] * 9 + [1] * 3)
    r = dprune.prune(S, m=8, groups=groups, min_keep=2, sweeps=5)
    masks = oracle.all_masks(12)
    ok = (masks[:, :9].sum(axis=1) == 7) & (masks[:, 9:].sum(axis=1) == 1)
    expected = np.sqrt(np.mean(oracle.change(S, masks[ok], 0.0) ** 2))
    assert r.random_norm == pytest.approx(expected, rel=1e-12)


def test_better_than_random_by_far(digits_rows):
    r = dprune.prune(digits_rows, fraction=0.5, reweight=1, sweeps=4000)
    assert r.norm < 0.2 * r.random_norm
    assert r.exact_norm == pytest.approx(r.norm, rel=1e-5)
    assert r.exact_norm_residual < 1e-9


def test_budget_on_a_real_head(digits_rows):
    r = dprune.prune(digits_rows, 0.3, reweight=1, sweeps=500)
    assert r.norm <= 0.3
    assert r.status is dprune.Status.CONVERGED
    # A random subset within the same budget is far smaller.
    at_random = dprune.prune(digits_rows, m=len(r.removed), reweight=1, sweeps=1).random_norm
    assert at_random > 4 * 0.3
    assert (np.diff(r.trace["removed"]) >= 0).all()
    assert (r.trace["norm"] <= 0.3).all()


def test_proportional_quotas_hold(digits_rows, digits):
    r = dprune.prune(
        digits_rows, fraction=0.8, groups=digits[1], balance="proportional", sweeps=300
    )
    kept = np.bincount(digits[1][r.kept])
    sizes = np.bincount(digits[1]).tolist()
    assert kept.tolist() == oracle.kept_quotas(sizes, [0] * 10, len(r.kept))


def test_removed_and_kept_partition_the_set():
    r = dprune.prune(np.random.default_rng(0).standard_normal((50, 5)), m=20, sweeps=10)
    assert r.removed.dtype == r.kept.dtype == np.int64
    assert (np.sort(np.concatenate([r.removed, r.kept])) == np.arange(50)).all()
    assert (np.diff(r.removed) > 0).all()
    assert (np.diff(r.kept) > 0).all()
    assert r.mask.dtype == bool
    assert (np.flatnonzero(r.mask) == r.removed).all()


def test_same_seed_same_answer_on_any_number_of_threads():
    S = np.random.default_rng(0).standard_normal((300, 40), dtype=np.float32)
    first = dprune.prune(S, m=100, sweeps=40, seed=3, threads=1)
    for threads in (2, 4, 7):
        again = dprune.prune(S, m=100, sweeps=40, seed=3, threads=threads)
        assert (again.removed == first.removed).all()
        assert again.norm == first.norm
    other = dprune.prune(S, m=100, sweeps=40, seed=4)
    assert (other.mask != first.mask).any()


def test_golden_value():
    """Pins the random stream and the walk: a change here changes every user's answers."""
    S = np.add.outer(np.arange(40) ** 2, 7 * np.arange(5)) % 23 - 11.0
    r = dprune.prune(S.astype(np.float32), m=12, seed=1, sweeps=3, solver="anneal")
    assert r.removed.tolist() == [1, 3, 6, 8, 13, 15, 25, 27, 28, 29, 32, 35]


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda S: S.astype(np.float64), id="float64"),
        pytest.param(np.asfortranarray, id="fortran"),
        pytest.param(lambda S: np.repeat(S, 2, axis=1)[:, ::2], id="strided"),
    ],
)
def test_other_layouts_give_the_same_answer(convert):
    S = np.random.default_rng(0).standard_normal((200, 16), dtype=np.float32)
    plain = dprune.prune(S, m=60, sweeps=30)
    other = dprune.prune(convert(S), m=60, sweeps=30)
    assert not plain.settings["working_copy"]
    assert other.settings["working_copy"]
    assert (plain.removed == other.removed).all()
    assert plain.norm == pytest.approx(other.norm, rel=1e-12)


def test_budget_holds_on_the_original_despite_rounding():
    """A float64 matrix whose float32 copy is a little shorter: the certificate must not lie."""
    S = np.full((6, 1), 1.0 + 2.0**-30)
    r = dprune.prune(S, 3.0)
    assert r.norm <= 3.0
    assert len(r.removed) == 2


def test_memory_map(tmp_path):
    S = np.random.default_rng(0).standard_normal((200, 16), dtype=np.float32)
    np.save(tmp_path / "S.npy", S)
    mapped = np.load(tmp_path / "S.npy", mmap_mode="r")
    assert (
        dprune.prune(mapped, m=60, sweeps=30).removed == dprune.prune(S, m=60, sweeps=30).removed
    ).all()


def test_torch_tensor():
    torch = pytest.importorskip("torch")
    S = np.random.default_rng(0).standard_normal((200, 16), dtype=np.float32)
    r = dprune.prune(torch.from_numpy(S), m=60, sweeps=30)
    assert not r.settings["working_copy"]
    assert (r.removed == dprune.prune(S, m=60, sweeps=30).removed).all()


def test_degenerate():
    S = np.random.default_rng(0).standard_normal((100, 5))
    S -= S.mean(axis=0)
    with pytest.warns(UserWarning, match="reweight"):
        r = dprune.prune(S, 0.5, reweight=0.5)
    assert r.status is dprune.Status.DEGENERATE
    assert 0 < len(r.removed) < 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dprune.prune(S, 0.5, reweight=1).status is dprune.Status.CONVERGED


def test_trivial():
    S = np.random.default_rng(0).standard_normal((10, 3))
    r = dprune.prune(S, m=0)
    assert r.status is dprune.Status.TRIVIAL
    assert (len(r.removed), r.norm, r.random_norm) == (0, 0.0, 0.0)
    r = dprune.prune(S, m=10)
    assert r.norm == pytest.approx(np.linalg.norm(S.sum(axis=0)), rel=1e-12)
    assert len(r.kept) == 0
    protect = np.arange(10) < 4
    r = dprune.prune(S, m=6, protect=protect)
    assert (r.kept == np.arange(4)).all()
    assert dprune.prune(S[:1], 100.0, reweight=1).removed.size == 0


def test_zero_rows():
    r = dprune.prune(np.zeros((20, 3), dtype=np.float32), m=7)
    assert r.norm == 0.0
    assert len(r.removed) == 7


def test_eps_zero_removes_only_what_changes_nothing():
    S = np.random.default_rng(0).standard_normal((12, 3))
    S[[2, 7]] = 0.0
    assert set(dprune.prune(S, 0.0).removed) == {2, 7}


def test_time_limit():
    S = np.random.default_rng(0).standard_normal((5000, 200), dtype=np.float32)
    start = time.perf_counter()
    r = dprune.prune(S, m=1500, sweeps=10**7, time_limit=0.5)
    assert r.status is dprune.Status.TIME_LIMIT
    assert time.perf_counter() - start < 5
    assert r.norm < 0.5 * r.random_norm  # it ended cold, not wherever it was


def test_callback_stops_and_keeps_the_best():
    S = np.random.default_rng(0).standard_normal((2000, 100), dtype=np.float32)
    seen = []

    def stop(progress):
        seen.append(progress)
        return progress.seconds > 0.3

    r = dprune.prune(S, m=700, sweeps=10**7, callback=stop)
    assert r.status is dprune.Status.STOPPED
    assert r.mask.sum() == 700
    assert len(seen) > 2
    assert seen[-1].removed == 700
    assert seen[-1].norm <= seen[0].norm
    assert r.norm == pytest.approx(seen[-1].norm, rel=1e-2)


def test_callback_errors_surface():
    def fail(progress):
        raise LookupError("from the callback")

    S = np.random.default_rng(0).standard_normal((2000, 100), dtype=np.float32)
    with pytest.raises(LookupError, match="from the callback"):
        dprune.prune(S, m=700, sweeps=10**7, callback=fail)


@pytest.fixture
def interrupts():
    """SIGINT raises, also where the tests were started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("solver", ["block", "anneal"])
def test_interrupt_raises_soon(solver):
    S = np.random.default_rng(0).standard_normal((20_000, 500), dtype=np.float32)
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(1.0, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        dprune.prune(S, m=5000, sweeps=10**7, solver=solver)
    # 0.2 s is the promise; the rest is for a busy machine.
    assert time.perf_counter() - sent[0] < 0.2 + 0.3


def test_other_threads_run_meanwhile():
    """The GIL is released: a Python thread makes progress while the solver works."""
    S = np.random.default_rng(0).standard_normal((20_000, 300), dtype=np.float32)
    ticks = []
    done = threading.Event()

    def tick():
        while not done.wait(0.01):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    dprune.prune(S, m=5000, sweeps=10**6, time_limit=1.0)
    done.set()
    thread.join()
    assert len(ticks) > 20


def test_progress_bar(capsys):
    S = np.random.default_rng(0).standard_normal((500, 50), dtype=np.float32)
    dprune.prune(S, m=100, sweeps=200, progress=True)
    assert "pruning" in capsys.readouterr().out


GOOD = np.random.default_rng(0).standard_normal((8, 3))
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1])


def with_value(value):
    S = GOOD.copy()
    S[5, 1] = value
    return S


@pytest.mark.parametrize(
    ("S", "arguments", "error", "match"),
    [
        (with_value(np.nan), {"m": 2}, ValueError, "S must be finite.*row 5"),
        (with_value(np.inf).astype(np.float32), {"m": 2}, ValueError, "S must be finite.*row 5"),
        (GOOD[0], {"m": 2}, ValueError, "S must have 2 dimensions"),
        (GOOD[None], {"m": 2}, ValueError, "S must have 2 dimensions"),
        (GOOD[:0], {"m": 0}, ValueError, "S must not be empty"),
        (GOOD[:, :0], {"m": 0}, ValueError, "S must not be empty"),
        (GOOD.astype(int), {"m": 2}, TypeError, "S must be float32.*int64"),
        (GOOD.astype(complex), {"m": 2}, TypeError, "S must be float32.*complex128"),
        (GOOD.astype(bool), {"m": 2}, TypeError, "S must be float32.*bool"),
        (GOOD.tolist(), {"m": 2}, TypeError, "S must be a NumPy array.*list"),
        (GOOD * 1e30, {"m": 2}, ValueError, "rescale"),
        (GOOD * 1e-30, {"m": 2}, ValueError, "rescale"),
        (GOOD, {}, ValueError, "exactly one of eps, m, fraction.*none"),
        (GOOD, {"eps": 1.0, "m": 2}, ValueError, "exactly one of.*eps, m"),
        (GOOD, {"m": 2, "fraction": 0.5}, ValueError, "exactly one of"),
        (GOOD, {"eps": -0.1}, ValueError, "eps must be finite and at least 0.*-0.1"),
        (GOOD, {"eps": float("nan")}, ValueError, "eps must be finite"),
        (GOOD, {"eps": "1"}, TypeError, "eps must be a real number.*str"),
        (GOOD, {"m": -1}, ValueError, "m must be at least 0.*-1"),
        (GOOD, {"m": 9}, ValueError, "m must lie in 0..8, found 9"),
        (GOOD, {"m": 2.0}, TypeError, "m must be an integer.*float"),
        (GOOD, {"m": True}, TypeError, "m must be an integer.*bool"),
        (GOOD, {"m": 8, "reweight": 1}, ValueError, "m must leave at least one"),
        (GOOD, {"fraction": 1.5}, ValueError, "fraction must lie in"),
        (GOOD, {"m": 2, "reweight": 1.5}, ValueError, "reweight must lie in"),
        (GOOD, {"m": 2, "groups": LABELS[:-1]}, ValueError, r"groups must have shape \(8,\).*7"),
        (GOOD, {"m": 2, "groups": LABELS * 1.0}, TypeError, "groups must be integers.*float64"),
        (GOOD, {"m": 2, "balance": "proportional"}, ValueError, "balance needs groups"),
        (GOOD, {"m": 2, "min_keep": 1}, ValueError, "min_keep needs groups"),
        (GOOD, {"m": 2, "groups": LABELS, "balance": "equal"}, ValueError, "balance must be"),
        (GOOD, {"m": 2, "groups": LABELS, "min_keep": -1}, ValueError, "min_keep must be at least"),
        (GOOD, {"m": 6, "groups": LABELS, "min_keep": 2}, ValueError, "m must be at most 4"),
        (GOOD, {"m": 2, "groups": LABELS, "min_keep": 4}, ValueError, "min_keep must leave"),
        (GOOD, {"m": 2, "protect": np.ones(8, bool)}, ValueError, "protect must leave.*8"),
        (GOOD, {"eps": 1.0, "protect": np.ones(8, bool)}, ValueError, "protect must leave.*8"),
        (GOOD, {"m": 7, "protect": np.arange(8) < 2}, ValueError, "m must be at most 6.*2 prot"),
        (GOOD, {"m": 2, "protect": np.ones(7, bool)}, ValueError, r"protect must have shape"),
        (GOOD, {"m": 2, "protect": [0, 1]}, TypeError, "protect must be a bool mask"),
        (GOOD, {"m": 2, "solver": "gurobi"}, ValueError, "solver must be one of.*gurobi"),
        (GOOD, {"m": 2, "sweeps": 0}, ValueError, "sweeps must be at least 1"),
        (GOOD, {"m": 2, "seed": -1}, ValueError, "seed must be at least 0"),
        (GOOD, {"m": 2, "threads": 0}, ValueError, "threads must be at least 1"),
        (GOOD, {"m": 2, "time_limit": 0}, ValueError, "time_limit must be positive"),
        (GOOD, {"m": 2, "device": "tpu"}, ValueError, "device must be"),
    ],
)
def test_bad_input(S, arguments, error, match):
    with pytest.raises(error, match=match):
        dprune.prune(S, **arguments)


def test_all_floors_unreachable_in_eps_mode_is_an_error_too():
    with pytest.raises(ValueError, match="min_keep must leave"):
        dprune.prune(GOOD, 1.0, groups=LABELS, min_keep=10)
