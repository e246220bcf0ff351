"""Input checks shared by the public calls: what was found, what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# Rows per block of the finiteness check, whose temporary is as large as the block.
_BLOCK = 8192


def feature_matrix(features: npt.ArrayLike) -> npt.NDArray[Any]:
    """Features as a finite, C-contiguous (n, d) float16, float32 or float64 array."""
    x = np.asarray(features)
    if x.dtype not in (np.float16, np.float32, np.float64):
        raise TypeError(f"features must be float16, float32 or float64, found {x.dtype}")
    if x.ndim != 2:
        raise ValueError(f"features must have 2 dimensions (n, d), found shape {x.shape}")
    if x.size == 0:
        raise ValueError(f"features must not be empty, found shape {x.shape}")
    for start in range(0, len(x), _BLOCK):
        bad = ~np.isfinite(x[start : start + _BLOCK]).all(axis=1)
        if bad.any():
            row = start + int(bad.argmax())
            raise ValueError(f"features must be finite, found NaN or Inf in row {row}")
    return np.ascontiguousarray(x)


def sample_weights_vector(weights: npt.ArrayLike, n: int) -> npt.NDArray[np.float64]:
    """Positive, finite weights of n samples in float64."""
    w = np.asarray(weights)
    if w.dtype.kind not in "fiu":
        raise TypeError(f"sample_weights must be real numbers, found {w.dtype}")
    if w.shape != (n,):
        raise ValueError(f"sample_weights must have shape ({n},), found {w.shape}")
    bad = ~((w > 0) & np.isfinite(w))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"sample_weights must be positive and finite, found {w[row]} in row {row}; leave a "
            "sample out rather than give it no weight"
        )
    return np.ascontiguousarray(w, dtype=np.float64)


def integer_vector(values: npt.ArrayLike, n: int, name: str) -> npt.NDArray[np.int64]:
    """A vector of n integers as int64."""
    y = np.asarray(values)
    if y.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, found {y.dtype}")
    if y.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), found {y.shape}")
    return np.ascontiguousarray(y, dtype=np.int64)


def class_labels(labels: npt.ArrayLike, n: int, classes: int | None) -> npt.NDArray[np.int64]:
    """Class labels 0..C-1 as int64; ``classes`` None: any number of classes."""
    y = integer_vector(labels, n, "labels")
    bad = (y < 0) if classes is None else (y < 0) | (y >= classes)
    if bad.any():
        row = int(bad.argmax())
        top = "C-1" if classes is None else str(classes - 1)
        raise ValueError(f"labels must lie in 0..{top}, found {y[row]} in row {row}")
    return y
