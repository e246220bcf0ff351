"""
CUDA twin of dprune._core. Imports without a driver; devices() is then empty.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
import typing_extensions
__all__: list[str] = ['ChainRows', 'DenseRows', 'Device', 'DeviceMachine', 'FactoredRows', 'HostMachine', 'Machine', 'Memory', 'ScaledRows', 'Solver', 'devices', 'exponentials', 'outer_rows', 'product', 'resample', 'softmax_curvature', 'softmax_errors', 'walk']
class Device:
    """
    One CUDA device.
    """
    @property
    def major(self) -> int:
        ...
    @property
    def memory_bytes(self) -> int:
        ...
    @property
    def minor(self) -> int:
        ...
    @property
    def multiprocessors(self) -> int:
        ...
    @property
    def name(self) -> str:
        ...
class Machine:
    """
    Where operations run.
    """
    def wait(self) -> None:
        """
        Until all that was issued is done.
        """
    @property
    def free_bytes(self) -> int:
        ...
class DeviceMachine(Machine):
    """
    A CUDA device and a stream.
    """
    def __init__(self, device: typing.SupportsInt | typing.SupportsIndex, stream: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
class HostMachine(Machine):
    """
    The CPU in the place of a device: slow, for tests. Addresses are its own.
    """
    def __init__(self, lanes: typing.SupportsInt | typing.SupportsIndex = 1, limit: typing.SupportsInt | typing.SupportsIndex | None = None) -> None:
        ...
    @property
    def held(self) -> int:
        """
        Bytes handed out and not returned.
        """
    @property
    def lanes(self) -> int:
        ...
class Memory:
    """
    A copy of an array in a machine's memory.
    """
    def __init__(self, machine: Machine, array: typing_extensions.Buffer) -> None:
        ...
    def read(self, array: typing_extensions.Buffer) -> None:
        """
        Copies it back into an array.
        """
    @property
    def address(self) -> int:
        ...
class ChainRows:
    """
    Rows in a machine's memory, for many running sums.
    """
    def add_groups(self, labels: numpy.typing.NDArray[numpy.int64], sums: numpy.typing.NDArray[numpy.float64], threads: typing.SupportsInt | typing.SupportsIndex = 1) -> None:
        """
        sums[labels[i]] += S_i in float64, for labels[i] >= 0.
        """
    def block_add(self, block: numpy.typing.NDArray[numpy.int64], signs: numpy.typing.NDArray[numpy.float32], U: numpy.typing.NDArray[numpy.float32]) -> None:
        """
        U += signs S_b.
        """
    def block_dots(self, block: numpy.typing.NDArray[numpy.int64], U: numpy.typing.NDArray[numpy.float32]) -> numpy.typing.NDArray[numpy.float32]:
        """
        U S_b^T for the rows of a block and the running sums U of several chains.
        """
    def dots(self, v: numpy.typing.NDArray[numpy.float64]) -> numpy.typing.NDArray[numpy.float64]:
        """
        Inner products of all rows with v, float64.
        """
    def gram(self, block: numpy.typing.NDArray[numpy.int64]) -> numpy.typing.NDArray[numpy.float32]:
        """
        Inner products within a block of rows.
        """
    def hashes(self) -> numpy.typing.NDArray[numpy.uint64]:
        """
        A hash of the bits of each row.
        """
    def square_columns(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        Sums of squares of the columns, float64.
        """
    def squared_norms(self, threads: typing.SupportsInt | typing.SupportsIndex = 1) -> numpy.typing.NDArray[numpy.float64]:
        """
        Of all rows, float64.
        """
    def weighted_sum(self, weights: numpy.typing.NDArray[numpy.float64]) -> numpy.typing.NDArray[numpy.float64]:
        """
        Sum of w_i S_i, float64.
        """
    @property
    def shape(self) -> tuple[int, int]:
        ...
class DenseRows(ChainRows):
    """
    Rows of a dense float32 or bfloat16 matrix.
    """
    def __init__(self, machine: Machine, S: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, width: typing.SupportsInt | typing.SupportsIndex, dtype: str) -> None:
        ...
class FactoredRows(ChainRows):
    """
    Rows b_i (x) a_i, float32 factors.
    """
    def __init__(self, machine: Machine, b: typing.SupportsInt | typing.SupportsIndex, a: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, k: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class ScaledRows(ChainRows):
    """
    The rows of a dense store, columns scaled.
    """
    def __init__(self, rows: DenseRows, scale: numpy.typing.NDArray[numpy.float32]) -> None:
        ...
class Solver:
    """
    A problem and the solver that works on it.
    """
    def __init__(self, rows: ChainRows, mean: numpy.typing.NDArray[numpy.float64], squared_norms: numpy.typing.NDArray[numpy.float64], metric: ChainRows | None, metric_mean: numpy.typing.NDArray[numpy.float64] | None, reweight: typing.SupportsFloat | typing.SupportsIndex, labels: numpy.typing.NDArray[numpy.int64], floors: numpy.typing.NDArray[numpy.int64], proportional: bool, protect: numpy.typing.NDArray[numpy.uint8], solver: str, seed: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, seconds: typing.SupportsFloat | typing.SupportsIndex, chains: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    def solve(self, m: typing.SupportsInt | typing.SupportsIndex | None, ceiling: typing.SupportsInt | typing.SupportsIndex, eps: typing.SupportsFloat | typing.SupportsIndex, sweeps: typing.SupportsInt | typing.SupportsIndex, time_limit: typing.SupportsFloat | typing.SupportsIndex, start: numpy.typing.NDArray[numpy.uint8] | None = None, callback: collections.abc.Callable[[float, int, float, int], bool] | None = None) -> dict:
        """
        Eq. 4 when m is given, from the mask `start`, else Eq. 3 with eps.
        """
def devices() -> list[Device]:
    """
    The CUDA devices this process can use; empty without a driver or a device.
    """
def exponentials(key: typing.SupportsInt | typing.SupportsIndex, count: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    The exponential random numbers of a pass.
    """
def outer_rows(machine: Machine, b: typing.SupportsInt | typing.SupportsIndex, a: typing.SupportsInt | typing.SupportsIndex, dtype: str, labels: typing.SupportsInt | typing.SupportsIndex | None, bias: bool, out: typing.SupportsInt | typing.SupportsIndex, out_dtype: str, n: typing.SupportsInt | typing.SupportsIndex, k: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    out[i] = (b[i] - onehot(labels[i])) (x) [a[i], 1].
    """
def product(machine: Machine, dtype: str, transpose_a: bool, transpose_b: bool, m: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, k: typing.SupportsInt | typing.SupportsIndex, A: typing.SupportsInt | typing.SupportsIndex, B: typing.SupportsInt | typing.SupportsIndex, C: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    C = op(A) op(B), row-major, m x n.
    """
def resample(energies: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], beta_step: typing.SupportsFloat | typing.SupportsIndex, uniform: typing.SupportsFloat | typing.SupportsIndex) -> list[int]:
    """
    The chain that takes each chain's place.
    """
def softmax_curvature(machine: Machine, probabilities: typing.SupportsInt | typing.SupportsIndex, weights: typing.SupportsInt | typing.SupportsIndex | None, values: typing.SupportsInt | typing.SupportsIndex, dtype: str, n: typing.SupportsInt | typing.SupportsIndex, classes: typing.SupportsInt | typing.SupportsIndex, vectors: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    values <- w (diag p - p p^T) values, in place, for vectors of C logits side by side.
    """
def softmax_errors(machine: Machine, logits: typing.SupportsInt | typing.SupportsIndex, labels: typing.SupportsInt | typing.SupportsIndex, errors: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex, classes: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    softmax(logits) - onehot(labels), float32.
    """
def walk(machine: Machine, K: numpy.typing.NDArray[numpy.float32], dots: numpy.typing.NDArray[numpy.float32], mask: numpy.typing.NDArray[numpy.uint8], labels: numpy.typing.NDArray[numpy.int64], caps: numpy.typing.NDArray[numpy.int64], proportional: bool, mu: numpy.typing.NDArray[numpy.float64], excess: numpy.typing.NDArray[numpy.int64], counts: numpy.typing.NDArray[numpy.int64], violation: numpy.typing.NDArray[numpy.int64], energy: numpy.typing.NDArray[numpy.float64], temperature: typing.SupportsFloat | typing.SupportsIndex, kappa: typing.SupportsFloat | typing.SupportsIndex, passes: typing.SupportsInt | typing.SupportsIndex, enough: typing.SupportsInt | typing.SupportsIndex, draw: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
    """
    One visit of chains to one block, in place; returns the net flips.
    """
