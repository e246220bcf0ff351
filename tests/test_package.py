"""The package as a whole: imports, devices, command line."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import dprune
from dprune.backend import cuda_devices

BLOCKED = ("torch", "sklearn", "matplotlib", "rich", "typer", "jinja2", "PIL")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )


def test_import_needs_numpy_and_scipy_only():
    done = python(
        "import sys\n"
        f"for name in {BLOCKED}: sys.modules[name] = None\n"
        "import numpy as np, dprune\n"
        "r = dprune.prune(np.eye(6), m=2)\n"
        "head = dprune.LastLayer.fit(np.eye(6), np.array([0, 1, 2, 0, 1, 2]))\n"
        "dprune.prune(dprune.influence(head), m=2)\n"
        "print(len(r.removed))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_command_without_its_libraries_says_what_is_missing():
    done = python("import sys; sys.modules['typer'] = None; from dprune.cli import main; main()")
    assert done.returncode == 1
    assert "pip install 'dprune[report]'" in done.stderr


def test_version():
    from importlib.metadata import version

    assert dprune.__version__ == version("dprune")


@pytest.mark.skipif(bool(cuda_devices()), reason="there is a CUDA device")
def test_cuda_without_a_device_is_an_error():
    with pytest.raises(RuntimeError, match="no usable CUDA device"):
        dprune.prune(np.eye(3), m=1, device="cuda")


def run(*arguments):
    from typer.testing import CliRunner

    from dprune._commands import app

    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_features_command(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def pair():\n"
        "    x = torch.arange(12.0).reshape(6, 2)\n"
        "    data = torch.utils.data.TensorDataset(x, torch.tensor([0, 1, 2, 0, 1, 2]))\n"
        "    return torch.nn.Sequential(torch.nn.Linear(2, 3)), data\n"
    )
    monkeypatch.chdir(tmp_path)
    out = run("features", "mine:pair", "f.npz")
    assert "6 samples, 2 features, 3 classes" in out
    with np.load("f.npz") as data:
        np.testing.assert_array_equal(data["features"], torch.arange(12.0).reshape(6, 2).numpy())
        assert data["labels"].tolist() == [0, 1, 2, 0, 1, 2]


def test_command_line(tmp_path, digits):
    features = tmp_path / "features.npz"
    np.savez(features, features=digits[0][:300], labels=digits[1][:300])
    run("influence", features, tmp_path / "S.npy", "--weight-decay", "0.01")
    out = run(
        "solve", tmp_path / "S.npy", tmp_path / "r.npz", "--fraction", "0.5",
        "--reweight", "1", "--features", features,
    )  # fmt: skip
    assert "removed 150 of 300" in out
    result = dprune.load(tmp_path / "r.npz")
    assert len(result.kept) == 150
    out = run("check", features, tmp_path / "r.npz", "--weight-decay", "0.01")
    assert "change, refitted" in out
    predicted = float(out.split("predicted")[1].split()[0])
    assert predicted == pytest.approx(result.norm, rel=1e-4)
