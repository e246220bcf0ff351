"""Factored rows ``S_i = b_i (x) a_i``: the way to many classes, features and samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class FactoredRows:
    """A matrix S of n (k + d) numbers in place of n k d.

    Parameters
    ----------
    b : (n, k) float32
        Class factors, for example softmax errors in orthonormal contrasts.
    a : (n, d) float32
        Feature factors. Row i of S is ``outer(b[i], a[i])``, flattened.

    Raises
    ------
    TypeError, ValueError
        Where they are not float32 matrices with one row a sample.
    """

    b: npt.NDArray[np.float32]
    a: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        for name, factor in (("b", self.b), ("a", self.a)):
            if not isinstance(factor, np.ndarray) or factor.dtype != np.float32:
                raise TypeError(f"{name} must be a float32 array, found {_kind(factor)}")
            if factor.ndim != 2 or factor.size == 0:
                raise ValueError(f"{name} must be a matrix, found shape {factor.shape}")
            object.__setattr__(self, name, np.ascontiguousarray(factor))
        if len(self.b) != len(self.a):
            raise ValueError(
                f"b and a must have as many rows, found {len(self.b)} and {len(self.a)}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(n, N), N = k d."""
        return len(self.b), self.b.shape[1] * self.a.shape[1]


def _kind(value: Any) -> str:
    return str(getattr(value, "dtype", type(value).__name__))
