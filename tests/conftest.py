from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

import dprune

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
