"""Results: subset, save, load, summary."""

from __future__ import annotations

import json

import numpy as np
import pytest

import dprune


@pytest.fixture(scope="module")
def result(digits_rows):
    return dprune.prune(digits_rows, fraction=0.5, reweight=1, sweeps=50)


def test_save_and_load(result, tmp_path):
    result.save(tmp_path / "r.npz")
    again = dprune.load(tmp_path / "r.npz")
    for name in ("n", "norm", "raw_norm", "random_norm", "upper_bound", "exact_norm", "status"):
        assert getattr(again, name) == getattr(result, name)
    assert again.settings == result.settings
    assert again.fingerprint == result.fingerprint
    np.testing.assert_array_equal(again.removed, result.removed)
    np.testing.assert_array_equal(again.kept, result.kept)
    np.testing.assert_array_equal(again.trace, result.trace)
    assert [path.name for path in tmp_path.iterdir()] == ["r.npz"]


def test_artefact_is_readable_without_the_library(result, tmp_path):
    result.save(tmp_path / "r.npz")
    with np.load(tmp_path / "r.npz", allow_pickle=False) as data:
        header = json.loads(data["header"].tobytes())
        assert set(data["kept"]) | set(data["removed"]) == set(range(header["n"]))
    assert header["settings"]["version"] == dprune.__version__
    assert header["norm"] == result.norm


def test_a_failed_save_leaves_the_old_file(result, tmp_path, monkeypatch):
    path = tmp_path / "r.npz"
    result.save(path)
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        result.save(path)
    assert path.read_bytes() == before


def test_load_refuses_other_files(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="path must be a dprune result"):
        dprune.load(tmp_path / "a.npz")
    header = np.frombuffer(b'{"format": "dprune result", "format_version": 99}', dtype=np.uint8)
    np.savez(tmp_path / "b.npz", header=header)
    with pytest.raises(ValueError, match="format version 1, found 99"):
        dprune.load(tmp_path / "b.npz")


def test_subset_of_arrays_and_lists(result, digits):
    X, y = result.subset((digits[0], digits[1]))
    np.testing.assert_array_equal(X, digits[0][result.kept])
    np.testing.assert_array_equal(y, digits[1][result.kept])
    assert result.subset(list(range(1257))) == result.kept.tolist()


def test_subset_of_a_torch_dataset(result, digits):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(digits[0]), torch.from_numpy(digits[1]))
    part = result.subset(data)
    assert len(part) == len(result.kept)
    assert torch.equal(part[3][0], data[int(result.kept[3])][0])


def test_subset_of_a_head_checks_the_fingerprint(result, digits_head, digits):
    assert result.subset(digits_head).n == len(result.kept)
    turned = dprune.LastLayer.fit(digits[0][::-1], digits[1][::-1], 1e-2)
    with pytest.raises(ValueError, match="fingerprint"):
        result.subset(turned)


def test_subset_checks_the_length(result):
    with pytest.raises(ValueError, match="dataset must have 1257 samples, found 1256"):
        result.subset(np.zeros(1256))
    with pytest.raises(TypeError, match="dataset must have a length"):
        result.subset(iter([]))


def test_bare_matrix_fingerprint_follows_the_matrix():
    S = np.random.default_rng(0).standard_normal((30, 4))
    one = dprune.prune(S, m=5, sweeps=2)
    assert one.fingerprint == dprune.prune(S.copy(), m=5, sweeps=2).fingerprint
    S[3, 2] += 1e-9
    assert one.fingerprint != dprune.prune(S, m=5, sweeps=2).fingerprint
    assert one.exact_norm is None


def test_summary(result, digits_rows):
    text = result.summary()
    assert "removed 628 of 1257 samples (50.0%)" in text
    assert f"{result.norm:.6g}" in text
    assert "converged" in text
    within = dprune.prune(digits_rows, 0.5, reweight=1, sweeps=50).summary()
    assert "upper bound" in within
    assert "(trivial)" in within
