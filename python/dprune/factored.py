"""Rows kept as factors: for heads whose dense rows would not fit anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FactoredRows:
    """A matrix S of outer products, ``S_i = b_i (x) a_i`` flattened with b's index slow.

    n (k + d) numbers stand for n k d. :func:`dprune.prune` works on the factors.

    Attributes
    ----------
    b : (n, k) float32, C-contiguous
    a : (n, d) float32, C-contiguous

    Raises
    ------
    TypeError
        If a factor is not float32 or not C-contiguous: nothing is copied.
    ValueError
        If shapes do not fit.
    """

    b: Float32 = field(repr=False)
    a: Float32 = field(repr=False)

    def __post_init__(self) -> None:
        for name, factor in (("b", self.b), ("a", self.a)):
            if not isinstance(factor, np.ndarray) or factor.dtype != np.float32:
                found = getattr(factor, "dtype", type(factor).__name__)
                raise TypeError(f"{name} must be a float32 array, found {found}")
            if not factor.flags.c_contiguous:
                raise TypeError(f"{name} must be C-contiguous, found strides {factor.strides}")
            if factor.ndim != 2 or factor.size == 0:
                raise ValueError(f"{name} must be a matrix, not empty, found shape {factor.shape}")
        if len(self.a) != len(self.b):
            raise ValueError(f"a must have as many rows as b, {len(self.b)}, found {len(self.a)}")

    @property
    def shape(self) -> tuple[int, int]:
        """(n, N), N = k d."""
        return len(self.b), self.b.shape[1] * self.a.shape[1]

    def __len__(self) -> int:
        return len(self.b)

    def __getitem__(self, rows: Any) -> FactoredRows:
        """Return some of the rows: a slice, a mask or an index array."""
        return FactoredRows(np.ascontiguousarray(self.b[rows]), np.ascontiguousarray(self.a[rows]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("factored rows have no dense matrix that could be shared")
        kind = np.dtype(dtype or np.float32)
        b, a = self.b.astype(kind, copy=False), self.a.astype(kind, copy=False)
        return np.asarray((b[:, :, None] * a[:, None, :]).reshape(self.shape))
