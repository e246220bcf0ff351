"""Matrices of bfloat16 numbers, which NumPy has no type for: half the memory of float32."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class BFloat16Rows:
    """A matrix S of bfloat16 numbers, held as their bits: the upper halves of float32's.

    :func:`dprune.prune` works on the bits. ``torch.bfloat16`` tensors become one by themselves.

    Attributes
    ----------
    bits : (n, N) uint16, C-contiguous
        In memory, or mapped from a file (:func:`dprune.open_rows`).

    Raises
    ------
    TypeError
        If bits are not uint16 or not C-contiguous: nothing is copied.
    ValueError
        If they are no matrix, or empty.
    """

    bits: Bits = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.bits, np.ndarray) or self.bits.dtype != np.uint16:
            found = getattr(self.bits, "dtype", type(self.bits).__name__)
            raise TypeError(f"bits must be a uint16 array, found {found}")
        if self.bits.ndim != 2 or self.bits.size == 0:
            raise ValueError(f"bits must be a matrix, not empty, found shape {self.bits.shape}")
        if not self.bits.flags.c_contiguous:
            raise TypeError(f"bits must be C-contiguous, found strides {self.bits.strides}")

    @staticmethod
    def rounded(S: npt.ArrayLike) -> BFloat16Rows:
        """Round a matrix to the nearest bfloat16 numbers, ties to even; NaN stays NaN."""
        return BFloat16Rows(to_bits(np.asarray(S, dtype=np.float32)))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, N)."""
        return self.bits.shape[0], self.bits.shape[1]

    @property
    def dtype(self) -> str:
        """``"bfloat16"``."""
        return "bfloat16"

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, rows: Any) -> BFloat16Rows:
        """Return some of the rows: a slice, a mask or an index array."""
        return BFloat16Rows(np.ascontiguousarray(self.bits[rows]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("bfloat16 numbers have no NumPy array that could be shared")
        return to_float32(self.bits).astype(dtype or np.float32, copy=False)


def to_bits(numbers: npt.NDArray[np.float32]) -> Bits:
    """The nearest bfloat16 numbers, ties to even, as bits; NaN stays NaN."""
    bits = np.ascontiguousarray(numbers, dtype=np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding could carry a NaN with few bits over to infinity, or beyond the sign.
    nan = np.isnan(numbers)
    return np.where(nan, (bits >> 16) | 0x40, rounded).astype(np.uint16)


def to_float32(bits: Bits) -> npt.NDArray[np.float32]:
    """The numbers that these bits stand for."""
    return (np.asarray(bits, dtype=np.uint32) << 16).view(np.float32)
