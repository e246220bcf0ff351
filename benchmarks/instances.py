"""The benchmark instances, by name.

``S = (G diag(s)) * rho_i``, G standard normal (float32, ``default_rng(seed)``), rows centred.
``scale`` shrinks n for quick runs; a scaled instance is another instance and is named so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Instance:
    """A matrix and the Eq. 4 size that goes with it."""

    name: str
    S: Matrix
    m: int

    def describe(self) -> str:
        """Name, shape, size and a hash of the rows."""
        digest = hashlib.sha256(self.S).hexdigest()[:12]
        return f"{self.name}: n={self.S.shape[0]} N={self.S.shape[1]} m={self.m} rows {digest}"


@dataclass(frozen=True)
class _Spec:
    n: int
    width: int
    share: float
    exponent: float  # s_j^2 = j^-exponent
    heavy: bool = False  # rho_i = exp(1.5 z), else 1


_SPECS = {
    "I1": _Spec(50_000, 512, 0.3, 0.0),
    "I2": _Spec(50_000, 2048, 0.4, 1.0),
    "I3": _Spec(50_000, 5130, 0.4, 2.0),
    "I4": _Spec(1_000_000, 512, 0.3, 1.0),
    "I4h": _Spec(1_000_000, 512, 0.3, 1.0, heavy=True),
    "I5": _Spec(50_000, 20_490, 0.4, 1.5),
}
_BUDGET_SPECS = {
    "E1": _Spec(2000, 50, 0.4, 0.5),
    "E2": _Spec(2000, 200, 0.4, 0.5),
    "E3": _Spec(2000, 200, 0.4, 1.0),
}


def gaussian(name: str, *, seed: int = 0, scale: float = 1.0) -> Instance:
    """I1-I5: Gaussian rows with a power-law spectrum."""
    spec = _SPECS[name]
    n = round(spec.n * scale)
    S = _rows(spec, n, np.random.default_rng(seed))
    return Instance(name if scale == 1.0 else f"{name}/{n}", S, round(spec.share * n))


def budget(name: str, *, seed: int = 0) -> Instance:
    """E1-E3, for Eq. 3: centred rows plus one standard deviation of the last column on it."""
    spec = _BUDGET_SPECS[name]
    S = _rows(spec, spec.n, np.random.default_rng(seed))
    S[:, -1] += S[:, -1].std()
    return Instance(name, S, round(spec.share * spec.n))


def digits_head(*, weight_decay: float = 5e-4, seed: int = 0) -> Instance:
    """R0: influence rows of a linear head on scikit-learn's digits (no network), half removed."""
    from sklearn.datasets import load_digits

    import dprune

    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))[:1257]
    head = dprune.LastLayer.fit((X[order] / 16).astype(np.float32), y[order], weight_decay)
    return Instance("R0", dprune.influence(head).rows, 628)


def _rows(spec: _Spec, n: int, rng: np.random.Generator) -> Matrix:
    S = rng.standard_normal((n, spec.width), dtype=np.float32)
    S *= np.arange(1, spec.width + 1, dtype=np.float32) ** np.float32(-spec.exponent / 2)
    if spec.heavy:
        S *= np.exp(1.5 * rng.standard_normal((n, 1), dtype=np.float32))
    S -= S.mean(axis=0, dtype=np.float64).astype(np.float32)
    return S


BY_NAME: dict[str, Callable[..., Instance]] = {
    **{name: (lambda name=name, **kw: gaussian(name, **kw)) for name in _SPECS},
    **{name: (lambda name=name, **kw: budget(name, **kw)) for name in _BUDGET_SPECS},
    "R0": digits_head,
}
