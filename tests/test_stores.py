"""Each row store against NumPy in float64, and the solver's answer whatever the store."""

from __future__ import annotations

import json

import numpy as np
import pytest

import dprune
from dprune import _core
from dprune.bfloat16 import to_bits, to_float32
from dprune.sources import source_of

SHAPES = [(70, 1), (90, 15), (50, 64), (40, 333), (420, 45)]
KINDS = ["float32", "float16", "bfloat16", "factored"]


def example(shape, kind, seed=0):
    """Rows in a store's form; np.asarray gives the numbers that they stand for."""
    rng = np.random.default_rng(seed)
    S = (rng.standard_normal(shape) * rng.exponential(size=(shape[0], 1))).astype(np.float32)
    if kind == "factored":
        return dprune.FactoredRows(np.ascontiguousarray(S[:, :40]), S)
    if kind == "bfloat16":
        return dprune.BFloat16Rows.rounded(S)
    return S.astype(kind)


def mapped(S, folder):
    path = folder / "S.npy"
    dprune.save_rows(path, S)
    return dprune.open_rows(path)


def exact(S):
    return np.asarray(S, dtype=np.float64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("kind", "in_file"), [(k, False) for k in KINDS] + [(k, True) for k in KINDS[:3]]
)
def test_store_equals_numpy(shape, kind, in_file, tmp_path):
    S = example(shape, kind)
    if in_file:
        S = mapped(S, tmp_path)
    truth = exact(S)
    n, width = truth.shape
    rng = np.random.default_rng(1)
    store = source_of(S, 1).store
    assert store.shape == (n, width)
    block = rng.permutation(n)[: n - 3]
    scale = np.linalg.norm(truth[block], axis=1)

    gram = store.gram(block)
    np.testing.assert_array_equal(gram, gram.T)
    error = np.abs(gram - truth[block] @ truth[block].T)
    assert (error <= 1e-6 * np.outer(scale, scale)).all()

    u = rng.standard_normal(width).astype(np.float32)
    error = np.abs(store.dots(block, u) - truth[block] @ u.astype(np.float64))
    assert (error <= 1e-6 * scale * np.linalg.norm(u)).all()

    for count in (0, 1, 4, 5, len(block)):  # whole groups of rows and what is left over
        signs = rng.choice([-1.0, 1.0], count).astype(np.float32)
        total = u.copy()
        store.add(block[:count], signs, total)
        expected = u.astype(np.float64) + signs @ truth[block[:count]]
        size = np.abs(u) + np.abs(truth[block[:count]]).sum(axis=0)
        assert (np.abs(total - expected) <= 1e-6 * size).all()

    labels = rng.integers(-1, 3, n)
    sums = np.ones((3, width))
    store.add_groups(labels, sums, 2)
    for g in range(3):
        expected = 1.0 + truth[labels == g].sum(axis=0)
        size = 1.0 + np.abs(truth[labels == g]).sum(axis=0)
        assert (np.abs(sums[g] - expected) <= 1e-13 * size).all()
    np.testing.assert_allclose(
        store.squared_norms(2), np.einsum("ij,ij->i", truth, truth), rtol=1e-13
    )


@pytest.mark.parametrize("kind", KINDS)
def test_float64_passes_same_bits_on_any_threads(kind):
    store = source_of(example((300, 45), kind), 1).store
    labels = np.arange(300) % 4 - 1
    found = []
    for threads in (1, 2, 4, 7):
        sums = np.zeros((3, store.shape[1]))
        store.add_groups(labels, sums, threads)
        found.append((sums, store.squared_norms(threads)))
    for sums, norms in found[1:]:
        np.testing.assert_array_equal(sums, found[0][0])
        np.testing.assert_array_equal(norms, found[0][1])


def test_every_half_is_read_exactly():
    """All 65,536 bit patterns, subnormal numbers, infinities and NaN among them."""
    bits = np.arange(2**16, dtype=np.uint16)
    for kind, numbers in (
        (_core.HalfRows, bits.view(np.float16)),
        (_core.BFloat16Rows, (bits.astype(np.uint32) << 16).view(np.float32)),
    ):
        for shape in ((2**16, 1), (2**12, 16)):  # one by one and by vectors
            store = kind(bits.reshape(shape))
            one = np.ones(1, dtype=np.float32)
            for row in range(0, shape[0], 1 if shape[1] == 16 else 257):
                u = np.zeros(shape[1], dtype=np.float32)
                store.add(np.array([row]), one, u)
                np.testing.assert_array_equal(u, numbers.reshape(shape)[row])


def test_bfloat16_rounds_as_torch_does():
    torch = pytest.importorskip("torch")
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    tie = np.array([0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800000], dtype=np.uint32)
    numbers = np.concatenate([bits, tie]).view(np.float32)
    numbers = numbers[~np.isnan(numbers)]
    expected = torch.from_numpy(numbers).bfloat16().float().numpy()
    np.testing.assert_array_equal(to_float32(to_bits(numbers)), expected)
    nan = np.array([0x7F800001, 0xFFFFFFFF], dtype=np.uint32).view(np.float32)
    assert np.isnan(to_float32(to_bits(nan))).all()


def small_integers(shape):
    """Numbers that every store holds exactly, as it does their sums and products."""
    return np.random.default_rng(0).integers(-6, 7, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(300, 20), (4000, 33)])
@pytest.mark.parametrize("solver", ["block", "anneal"])
def test_same_answer_from_every_store(shape, solver, tmp_path):
    torch = pytest.importorskip("torch")
    S = small_integers(shape)
    rules = {"fraction": 0.4, "reweight": 0.5, "sweeps": 12, "solver": solver}
    dense = dprune.prune(S, **rules)
    half = S.astype(np.float16)
    brain = dprune.BFloat16Rows.rounded(S)
    stores = {
        "float16": half,
        "bfloat16": brain,
        "torch": torch.from_numpy(S).bfloat16(),
        "strided torch": torch.from_numpy(S.T.copy()).bfloat16().T,
    }
    for name, rows in stores.items():
        r = dprune.prune(rows, **rules)
        assert (r.mask == dense.mask).all(), name
        assert (r.norm, r.random_norm) == (dense.norm, dense.random_norm)
        assert r.settings["dtype"] in ("float16", "bfloat16")
        assert not r.settings["working_copy"]
    # Rows of like norm share a block only in memory: beyond one block files give other answers.
    files = [mapped(rows, tmp_path) for rows in (S, half, brain)]
    answers = [dprune.prune(rows, **rules) for rows in files]
    assert all((r.mask == answers[0].mask).all() for r in answers)
    if shape[0] == 300 or solver == "anneal":
        assert (answers[0].mask == dense.mask).all()


@pytest.mark.parametrize("kind", KINDS[:3])
def test_certificate_of_the_rows_as_given(kind, tmp_path):
    S = mapped(example((4000, 60), kind), tmp_path)
    masks = [dprune.prune(S, m=900, sweeps=15, threads=threads).mask for threads in (1, 2, 7)]
    assert all((mask == masks[0]).all() for mask in masks[1:])
    r = dprune.prune(S, m=900, reweight=0.5, sweeps=15)
    truth = exact(S)
    u = truth[r.removed].sum(axis=0) - 0.5 * 900 * truth.mean(axis=0)
    assert r.norm == pytest.approx(np.linalg.norm(u) / (1 - 0.5 * 900 / 4000), rel=1e-9)
    assert r.norm < 0.6 * r.random_norm


def test_within_eps():
    S = dprune.BFloat16Rows.rounded(example((400, 20), "float32") + 0.1)
    r = dprune.prune(S, 20.0, sweeps=300)
    assert r.norm <= 20.0
    assert 0 < len(r.removed) <= r.upper_bound


def test_files(tmp_path):
    path = tmp_path / "rows"  # whatever the name
    S = dprune.BFloat16Rows.rounded(example((30, 5), "float32"))
    dprune.save_rows(path, S)
    assert json.loads((tmp_path / "rows.json").read_text()) == {"dtype": "bfloat16"}
    again = dprune.open_rows(path)
    assert isinstance(again.bits, np.memmap)
    np.testing.assert_array_equal(again, S)
    by_path = dprune.prune(str(path), m=9, sweeps=50)
    assert (by_path.removed == dprune.prune(S, m=9, sweeps=50).removed).all()
    assert by_path.fingerprint == dprune.prune(S, m=9, sweeps=50).fingerprint
    dprune.save_rows(path, np.asarray(S))
    assert dprune.open_rows(path).dtype == np.float32
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows"]


def test_rows_of_bfloat16():
    S = example((30, 5), "bfloat16")
    np.testing.assert_array_equal(np.asarray(S[[3, 8]]), np.asarray(S)[[3, 8]])
    np.testing.assert_array_equal(np.asarray(S, dtype=np.float64), exact(S))
    assert (len(S), S.shape, S.dtype) == (30, (30, 5), "bfloat16")
    choice = dprune.choose_reweight(S, np.arange(30) % 3, 9, lambda kept, _: 0.0, sweeps=5)
    assert len(choice.scores) == 3


def test_bad_numbers_are_found_in_every_store():
    for kind in KINDS[:3]:
        S = np.asarray(example((40, 20), kind), dtype=np.float32).copy()
        S[17, 3] = np.inf
        rows = dprune.BFloat16Rows.rounded(S) if kind == "bfloat16" else S.astype(kind)
        with pytest.raises(ValueError, match=r"S must be finite.*row 17"):
            dprune.prune(rows, m=3)


@pytest.mark.parametrize(
    ("bits", "error", "match"),
    [
        (np.zeros((3, 2)), TypeError, "bits must be a uint16 array, found float64"),
        ([[1]], TypeError, "bits must be a uint16 array, found list"),
        (np.zeros(3, "u2"), ValueError, r"bits must be a matrix.*\(3,\)"),
        (np.zeros((0, 2), "u2"), ValueError, "bits must be a matrix, not empty"),
        (np.zeros((3, 2), "u2").T, TypeError, "bits must be C-contiguous"),
    ],
)
def test_bad_bits(bits, error, match):
    with pytest.raises(error, match=match):
        dprune.BFloat16Rows(bits)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        dprune.prune(tmp_path / "nothing.npy", m=1)
    path = tmp_path / "S.npy"
    np.save(path, np.zeros((3, 2), dtype=np.uint16))
    with pytest.raises(TypeError, match=r"S must be float32.*bfloat16, found uint16"):
        dprune.prune(path, m=1)
    (tmp_path / "S.npy.json").write_text('{"dtype": "float8"}')
    with pytest.raises(ValueError, match=r"must say dtype bfloat16.*'float8'"):
        dprune.open_rows(path)
    np.save(path, np.zeros((3, 2)))
    (tmp_path / "S.npy.json").write_text('{"dtype": "bfloat16"}')
    with pytest.raises(ValueError, match="of a uint16 matrix, found 'bfloat16' beside float64"):
        dprune.open_rows(path)


@pytest.mark.parametrize("block", [[-1], [70]])
def test_rows_out_of_range(block):
    store = _core.DenseRows(np.zeros((70, 3), dtype=np.float32))
    with pytest.raises(ValueError, match=r"block must name rows in 0\.\.69"):
        store.gram(np.array(block))


def test_rows_in_eight_bits_tell_inner_products_apart():
    """Off by a hundredth of their spread where entries are alike, whatever the rows' lengths."""
    rng = np.random.default_rng(0)
    S = rng.standard_normal((1500, 700)) * np.arange(1, 701) ** -0.5
    S *= np.exp(2 * rng.standard_normal((1500, 1)))
    S[:, 5] = 0.0
    S[3] = 0.0
    S = S.astype(np.float32)
    u = rng.standard_normal(700).astype(np.float32)
    block = np.arange(1499, -1, -1)
    exact = S[block].astype(np.float64) @ u
    error = _core.DenseRows(S).coarse_dots(block, u) - exact
    length = np.linalg.norm(S[block], axis=1)
    assert 1e-4 < np.std(error[length > 0] / length[length > 0]) < 0.02
    assert error[length == 0] == 0.0
    # One row with a column that no other has: the others keep their precision.
    S[:, 5], S[777, 5] = 0.0, 1e3
    error = _core.DenseRows(S).coarse_dots(block, u) - S[block].astype(np.float64) @ u
    others = (block != 777) & (length > 0)
    assert np.std(error[others] / length[others]) < 0.02
