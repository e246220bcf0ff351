"""
The compiled core of dprune. Users call the functions of the dprune package.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['BFloat16Rows', 'DenseRows', 'FactoredRows', 'HalfRows', 'Rows', 'ScaledRows', 'Solver', 'add_groups', 'hardware_threads', 'last_layer_gradients', 'removed_counts', 'softmax_curvature', 'softmax_errors', 'squared_norms']
class Rows:
    """
    A row store: what the solvers ask of the matrix S.
    """
    def add(self, block: numpy.typing.NDArray[numpy.int64], signs: numpy.typing.NDArray[numpy.float32], u: numpy.typing.NDArray[numpy.float32]) -> None:
        """
        u += sum_a signs[a] S_i, i = block[a].
        """
    def add_groups(self, labels: numpy.typing.NDArray[numpy.int64], sums: numpy.typing.NDArray[numpy.float64], threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        sums[labels[i]] += S_i in float64, for labels[i] >= 0.
        """
    def coarse_dots(self, block: numpy.typing.NDArray[numpy.int64], u: numpy.typing.NDArray[numpy.float32]) -> numpy.typing.NDArray[numpy.float32]:
        """
        The same with the rows in eight bits.
        """
    def dots(self, block: numpy.typing.NDArray[numpy.int64], u: numpy.typing.NDArray[numpy.float32]) -> numpy.typing.NDArray[numpy.float32]:
        """
        Inner products of these rows with u, float32.
        """
    def gram(self, block: numpy.typing.NDArray[numpy.int64]) -> numpy.typing.NDArray[numpy.float32]:
        """
        Inner products of these rows, float32.
        """
    def squared_norms(self, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        """
        Squared norms of the rows, in float64.
        """
    @property
    def shape(self) -> tuple[int, int]:
        ...
class DenseRows(Rows):
    """
    Rows of a float32 matrix, not copied.
    """
    def __init__(self, S: numpy.typing.NDArray[numpy.float32], mapped: bool = False) -> None:
        ...
class HalfRows(Rows):
    """
    Rows of a float16 matrix, given as its bits.
    """
    def __init__(self, S: numpy.typing.NDArray[numpy.uint16], mapped: bool = False) -> None:
        ...
class BFloat16Rows(Rows):
    """
    Rows of a bfloat16 matrix, given as its bits.
    """
    def __init__(self, S: numpy.typing.NDArray[numpy.uint16], mapped: bool = False) -> None:
        ...
class FactoredRows(Rows):
    """
    Rows b_i (x) a_i, held as their factors.
    """
    def __init__(self, b: numpy.typing.NDArray[numpy.float32], a: numpy.typing.NDArray[numpy.float32]) -> None:
        ...
class ScaledRows(Rows):
    """
    The rows of another store, columns scaled.
    """
    def __init__(self, rows: Rows, scale: numpy.typing.NDArray[numpy.float32]) -> None:
        ...
class Solver:
    """
    A problem and the solver that works on it.
    """
    def __init__(self, rows: Rows, mean: numpy.typing.NDArray[numpy.float64], squared_norms: numpy.typing.NDArray[numpy.float64], metric: Rows | None, metric_mean: numpy.typing.NDArray[numpy.float64] | None, reweight: typing.SupportsFloat | typing.SupportsIndex, labels: numpy.typing.NDArray[numpy.int64], floors: numpy.typing.NDArray[numpy.int64], proportional: bool, protect: numpy.typing.NDArray[numpy.uint8], solver: str, seed: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, seconds: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    def solve(self, m: typing.SupportsInt | typing.SupportsIndex | None, ceiling: typing.SupportsInt | typing.SupportsIndex, eps: typing.SupportsFloat | typing.SupportsIndex, sweeps: typing.SupportsInt | typing.SupportsIndex, time_limit: typing.SupportsFloat | typing.SupportsIndex, start: numpy.typing.NDArray[numpy.uint8] | None = None, callback: collections.abc.Callable[[float, int, float, int], bool] | None = None) -> dict:
        """
        Eq. 4 when m is given, from the mask `start`, else Eq. 3 with eps.
        """
@typing.overload
def add_groups(block: numpy.typing.NDArray[numpy.float32], labels: numpy.typing.NDArray[numpy.int64], sums: numpy.typing.NDArray[numpy.float64], threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
@typing.overload
def add_groups(block: numpy.typing.NDArray[numpy.float64], labels: numpy.typing.NDArray[numpy.int64], sums: numpy.typing.NDArray[numpy.float64], threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    sums[labels[i]] += block[i] in float64, for labels[i] >= 0.
    """
def hardware_threads() -> int:
    """
    Threads this machine runs at once.
    """
@typing.overload
def last_layer_gradients(features: numpy.typing.NDArray[numpy.float32], probabilities: numpy.typing.NDArray[numpy.float32], labels: numpy.typing.NDArray[numpy.int64], out: numpy.typing.NDArray[numpy.float32] | None = None) -> numpy.typing.NDArray[numpy.float32]:
    ...
@typing.overload
def last_layer_gradients(features: numpy.typing.NDArray[numpy.float64], probabilities: numpy.typing.NDArray[numpy.float64], labels: numpy.typing.NDArray[numpy.int64], out: numpy.typing.NDArray[numpy.float64] | None = None) -> numpy.typing.NDArray[numpy.float64]:
    """
    (probabilities - onehot(labels)) (x) [features, 1], row by row.
    """
def removed_counts(labels: numpy.typing.NDArray[numpy.int64], floors: numpy.typing.NDArray[numpy.int64], proportional: bool, m: typing.SupportsInt | typing.SupportsIndex) -> list[int]:
    """
    Most samples removed from each group when m are removed in all; with proportional quotas the exact number.
    """
@typing.overload
def softmax_curvature(probabilities: numpy.typing.NDArray[numpy.float32], weights: numpy.typing.NDArray[numpy.float32] | None, values: numpy.typing.NDArray[numpy.float32], threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
@typing.overload
def softmax_curvature(probabilities: numpy.typing.NDArray[numpy.float64], weights: numpy.typing.NDArray[numpy.float64] | None, values: numpy.typing.NDArray[numpy.float64], threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    values <- w (diag p - p p^T) values, in place, for vectors of C logits side by side.
    """
@typing.overload
def softmax_errors(logits: numpy.typing.NDArray[numpy.float32], labels: numpy.typing.NDArray[numpy.int64]) -> numpy.typing.NDArray[numpy.float32]:
    ...
@typing.overload
def softmax_errors(logits: numpy.typing.NDArray[numpy.float64], labels: numpy.typing.NDArray[numpy.int64]) -> numpy.typing.NDArray[numpy.float64]:
    """
    softmax(logits) - onehot(labels), row by row.
    """
@typing.overload
def squared_norms(block: numpy.typing.NDArray[numpy.float32], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
    ...
@typing.overload
def squared_norms(block: numpy.typing.NDArray[numpy.float64], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
    """
    Squared norms of the rows, in float64.
    """
