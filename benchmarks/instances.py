"""The benchmark instances, by name.

``S = (G diag(s)) * rho_i``, G standard normal (float32, ``default_rng(seed)``), rows centred.
``scale`` shrinks n for quick runs; a scaled instance is another instance and is named so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.special

import dprune

Matrix = npt.NDArray[np.float32]

BUILD = Path(__file__).parents[1] / "build" / "instances"


@dataclass(frozen=True)
class Instance:
    """A matrix and the Eq. 4 size that goes with it."""

    name: str
    S: Matrix | dprune.FactoredRows
    m: int

    def describe(self) -> str:
        """Name, shape, size and a hash of the rows."""
        factored = isinstance(self.S, dprune.FactoredRows)
        digest = hashlib.sha256()
        for part in (self.S.b, self.S.a) if factored else (self.S,):
            digest.update(part)
        n, width = self.S.shape
        return f"{self.name}: n={n} N={width} m={self.m} rows {digest.hexdigest()[:12]}"


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


@dataclass(frozen=True)
class _FactoredSpec:
    n: int
    classes: int
    features: int


_FACTORED_SPECS = {
    "F1": _FactoredSpec(50_000, 10, 2048),
    "F2": _FactoredSpec(100_000, 200, 2048),
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


def factored(name: str, *, seed: int = 0, scale: float = 1.0) -> Instance:
    """F1, F2: rows b_i (x) a_i in the shape of a ResNet-50 head.

    a = relu(z) with s_j^2 = 1/j and a bias column, b the softmax errors of random logits (scale 3),
    labels drawn from the softmax, in C - 1 orthonormal contrasts.
    """
    spec = _FACTORED_SPECS[name]
    n = round(spec.n * scale)
    rng = np.random.default_rng(seed)
    a = np.empty((n, spec.features + 1), dtype=np.float32)
    scales = np.arange(1, spec.features + 1, dtype=np.float32) ** np.float32(-0.5)
    for start in range(0, n, 4096):
        z = rng.standard_normal((min(4096, n - start), spec.features), dtype=np.float32)
        np.maximum(z * scales, 0, out=a[start : start + 4096, :-1])
    a[:, -1] = 1.0
    logits = 3 * rng.standard_normal((n, spec.classes), dtype=np.float32)
    labels = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    errors = scipy.special.softmax(logits, axis=1)
    errors[np.arange(n), labels] -= 1.0
    contrasts = scipy.linalg.helmert(spec.classes).astype(np.float32)
    rows = dprune.FactoredRows(np.ascontiguousarray(errors @ contrasts.T), a)
    return Instance(name if scale == 1.0 else f"{name}/{n}", rows, round(0.4 * n))


def digits_head(*, weight_decay: float = 5e-4, seed: int = 0) -> Instance:
    """R0: influence rows of a linear head on scikit-learn's digits (no network), half removed."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(X))[:1257]
    head = dprune.LastLayer.fit((X[order] / 16).astype(np.float32), y[order], weight_decay)
    return Instance("R0", dprune.influence(head).rows, 628)


def glyph_head(*, weight_decay: float = 5e-4, seed: int = 0) -> Instance:
    """R1: influence rows of the head of a network trained on glyphs, 36 characters, half removed.

    About 10,000 x 2,275 (the orthonormal contrasts of 2,340 parameters). The glyphs depend on the
    fonts installed, the features on the processor; the hash of the rows tells. The features are
    kept in ``build/instances`` after the first training (a minute or two on one core).
    """
    import torch

    from dprune import models, train
    from dprune.glyphs import glyphs

    cache = BUILD / f"glyph-features-{seed}.npz"
    if not cache.is_file():
        data = glyphs()
        data = data.take(min(10_000, len(data.labels)), seed)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        model = models.seeded(seed, models.network, "small", data.classes, 1, data.pixels)
        train.fit(model, data.images, data.labels, train.Recipe(epochs=15), seed)
        head = dprune.LastLayer.from_torch(
            model, train.ImageDataset(data.images, data.labels), refit=False
        )
        torch.set_num_threads(threads)
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, features=head.features, labels=head.labels)
    with np.load(cache) as kept:
        head = dprune.LastLayer.fit(kept["features"], kept["labels"], weight_decay)
    S = dprune.influence(head).rows
    return Instance("R1", S, len(S) // 2)


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
    **{name: (lambda name=name, **kw: factored(name, **kw)) for name in _FACTORED_SPECS},
    "R0": digits_head,
    "R1": glyph_head,
}
