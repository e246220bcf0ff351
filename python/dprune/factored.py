"""Rows kept as factors: for heads whose dense rows would not fit anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune.backend import is_cuda, to_host

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FactoredRows:
    """A matrix S of outer products, ``S_i = b_i (x) a_i`` flattened with b's index slow.

    n (k + d) numbers stand for n k d. :func:`dprune.prune` works on the factors.

    Attributes
    ----------
    b : (n, k) float32, C-contiguous
    a : (n, d) float32, C-contiguous
        Arrays, or both torch tensors on one CUDA device.

    Raises
    ------
    TypeError
        If a factor is not float32 or not C-contiguous: nothing is copied.
    ValueError
        If shapes do not fit.
    """

    b: Any = field(repr=False)
    a: Any = field(repr=False)

    def __post_init__(self) -> None:
        for name, factor in (("b", self.b), ("a", self.a)):
            tensor = is_cuda(factor)
            found = str(getattr(factor, "dtype", type(factor).__name__)).removeprefix("torch.")
            if not (tensor or isinstance(factor, np.ndarray)) or found != "float32":
                raise TypeError(f"{name} must be a float32 array, found {found}")
            if not (factor.is_contiguous() if tensor else factor.flags.c_contiguous):
                strides = factor.stride() if tensor else factor.strides
                raise TypeError(f"{name} must be C-contiguous, found strides {strides}")
            if factor.ndim != 2 or 0 in factor.shape:
                raise ValueError(
                    f"{name} must be a matrix, not empty, found shape {tuple(factor.shape)}"
                )
        devices = [str(f.device) if is_cuda(f) else "host" for f in (self.b, self.a)]
        if devices[0] != devices[1]:
            raise ValueError(f"a must be where b is ({devices[0]}), found {devices[1]}")
        if len(self.a) != len(self.b):
            raise ValueError(f"a must have as many rows as b, {len(self.b)}, found {len(self.a)}")

    @property
    def shape(self) -> tuple[int, int]:
        """(n, N), N = k d."""
        return len(self.b), int(self.b.shape[1] * self.a.shape[1])

    def __len__(self) -> int:
        return len(self.b)

    def __getitem__(self, rows: Any) -> FactoredRows:
        """Return some of the rows: a slice, a mask or an index array."""
        b, a = self.b[rows], self.a[rows]
        if is_cuda(b):
            return FactoredRows(b.contiguous(), a.contiguous())
        return FactoredRows(np.ascontiguousarray(b), np.ascontiguousarray(a))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("factored rows have no dense matrix that could be shared")
        kind = np.dtype(dtype or np.float32)
        b, a = (to_host(factor).astype(kind, copy=False) for factor in (self.b, self.a))
        return np.asarray((b[:, :, None] * a[:, None, :]).reshape(self.shape))
