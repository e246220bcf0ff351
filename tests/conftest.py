from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

import dprune

# Without the module test_device.py alone is left, and says so.
collect_ignore_glob = [] if find_spec("dprune._cuda") else ["cuda/test_[!d]*.py"]

LOADERS = {"digits": load_digits, "breast_cancer": load_breast_cancer, "wine": load_wine}


def load_scaled(name: str) -> tuple[np.ndarray, np.ndarray]:
    """A bundled data set in a fixed random order, features of about unit size, float32."""
    X, y = LOADERS[name](return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X = X / 16 if name == "digits" else (X - X.mean(axis=0)) / X.std(axis=0)
    return X[order].astype(np.float32), y[order].astype(np.int64)


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training features and labels (n = 1257), test features and labels."""
    X, y = load_scaled("digits")
    return X[:1257], y[:1257], X[1257:], y[1257:]


@pytest.fixture(scope="session")
def digits_head(digits) -> dprune.LastLayer:
    return dprune.LastLayer.fit(digits[0], digits[1], weight_decay=1e-2)


@pytest.fixture(scope="session")
def digits_rows(digits_head) -> dprune.InfluenceRows:
    return dprune.influence(digits_head)


@pytest.fixture(params=["host", "host, 3 lanes", "device"])
def machine(request):
    """Where operations of ``cuda/`` run: the CPU in a device's place, and a device if there is one.

    The 3 lanes are threads that meet at barriers.
    """
    from dprune import _cuda

    if request.param == "host":
        return _cuda.HostMachine()
    if request.param == "host, 3 lanes":
        return _cuda.HostMachine(lanes=3)
    if not _cuda.devices():
        pytest.skip("no CUDA device")
    pytest.importorskip("torch")  # brings cuBLAS
    return _cuda.DeviceMachine(0)
