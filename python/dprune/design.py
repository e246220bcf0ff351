"""The design matrix ``[features, 1]``, read in blocks of float64.

Features come as float16, float32 or float64, in memory or memory-mapped. The linear algebra runs
in float64 on a block of rows at a time, so that no second copy of a large feature matrix exists;
a small one is converted once and kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

# A float64 copy up to this size is kept between passes.
_KEEP_BYTES = 1 << 28
# Entries of the largest temporary that belongs to one block.
_BLOCK_ENTRIES = 1 << 23
# Logits of vectors that are formed at once: few enough to stay near the processor, and to let
# blocks of samples be long, for a product sums over these.
_LOGITS = 2048


def with_bias(features: npt.NDArray[Any], dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
    """``[features, 1]``, shape (n, d + 1)."""
    design = np.empty((features.shape[0], features.shape[1] + 1), dtype=dtype)
    design[:, :-1] = features
    design[:, -1] = 1.0
    return design


def vector_parts(count: int, classes: int) -> Iterator[slice]:
    """``count`` vectors with ``classes`` logits each, in parts that are multiplied at once."""
    step = max(1, _LOGITS // classes)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


class Design:
    """``X = [features, 1]``, (n, d + 1), and the weights of its rows.

    Parameters
    ----------
    features : (n, d) float16, float32 or float64
        An array or a memory map; used in place.
    weights : (n,) float64, optional
        ``w_i``, the weight of sample i in the head loss; default one.
    """

    def __init__(self, features: npt.NDArray[Any], weights: Float64 | None = None) -> None:
        self.features = features
        self.weights = weights
        self.shape: tuple[int, int] = features.shape[0], features.shape[1] + 1
        self._small = 8 * self.shape[0] * self.shape[1] <= _KEEP_BYTES

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(with_bias(self.features), dtype=dtype)

    @cached_property
    def _kept(self) -> Float64:
        return with_bias(self.features)

    def gather(self, samples: npt.NDArray[np.int64]) -> Float64:
        """Rows of X of some samples in float64."""
        return self._kept[samples] if self._small else with_bias(self.features[samples])

    def blocks(
        self, columns: int = 0, dtype: npt.DTypeLike = np.float64
    ) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """All rows in order, in blocks that keep (rows, ``columns``) temporaries small."""
        kept = self._small and dtype == np.float64
        step = max(64, min(4096, _BLOCK_ENTRIES // max(columns, self.shape[1])))
        for start in range(0, len(self), step):
            block = slice(start, min(start + step, len(self)))
            yield block, self._kept[block] if kept else with_bias(self.features[block], dtype)

    def times(self, matrix: Float64) -> Float64:
        """``X M^T`` for M (columns, d + 1), shape (n, columns)."""
        out = np.empty((len(self), len(matrix)))
        for block, x in self.blocks(len(matrix)):
            np.matmul(x, matrix.T, out=out[block])
        return out

    def adjoint_times(self, errors: Float64) -> Float64:
        """``E^T X`` for E (n, columns), shape (columns, d + 1)."""
        out = np.zeros((errors.shape[1], self.shape[1]))
        for block, x in self.blocks(errors.shape[1]):
            out += errors[block].T @ x
        return out

    @cached_property
    def second_moment(self) -> Float64:
        """``A = (1/n) sum_i w_i h_i h_i^T``, (d + 1, d + 1)."""
        out = np.zeros((self.shape[1], self.shape[1]))
        for block, x in self.blocks():
            out += (x if self.weights is None else x * self.weights[block, None]).T @ x
        return out / len(self)

    @cached_property
    def second_moment_eigh(self) -> tuple[Float64, Float64]:
        """Eigenvalues and eigenvectors of A."""
        values, vectors = np.linalg.eigh(self.second_moment)
        return values, vectors
