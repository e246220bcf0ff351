"""Arrays that are filled block by block, in float32 or bfloat16, and survive a kill.

A path is written as ``<path>.part`` beside a small JSON file that says what is being computed and
how many rows are done; the finished file is renamed into place. A second run that computes the
same thing goes on where the first one stopped.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune.bfloat16 import BFloat16Rows, to_bits
from dprune.result import write_beside
from dprune.rowfile import mark

# Progress is put on disk this often: a flush writes out everything that changed.
_FLUSH_SECONDS = 5.0


class Output:
    """An array being filled from the top; ``done`` rows are there already."""

    def __init__(self, array: npt.NDArray[Any], done: int = 0) -> None:
        self.array = array
        self.done = done

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write the next rows, and say so."""
        stop = self.done + len(rows)
        # bfloat16 numbers are kept as their bits.
        self.array[self.done : stop] = (
            to_bits(rows.astype(np.float32, copy=False)) if self.array.dtype == np.uint16 else rows
        )
        self.advance(stop)

    def advance(self, done: int) -> None:
        """Say that the first ``done`` rows are complete."""
        self.done = done

    def finish(self) -> npt.NDArray[Any]:
        """All rows are complete."""
        return self.array


class ResumableFile(Output):
    """The same in an ``.npy`` file.

    Parameters
    ----------
    path : path-like
        Of the finished file.
    shape, dtype
        Of the array.
    key : str
        Names the computation; progress under another key is not taken up.
    """

    def __init__(
        self, path: str | os.PathLike[str], shape: tuple[int, ...], dtype: Any, key: str
    ) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(self.path.name + ".part")
        self._progress = self.path.with_name(self.path.name + ".part.json")
        self._key = f"{key} {tuple(shape)} {np.dtype(dtype)}"
        self._flushed = time.monotonic()
        done = self._found()
        self._map = np.lib.format.open_memmap(
            self._part, mode="r+" if done else "w+", dtype=dtype, shape=None if done else shape
        )
        super().__init__(self._map, done)

    def advance(self, done: int) -> None:
        """Say that the first ``done`` rows are complete; now and then this reaches the disk."""
        super().advance(done)
        if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Put rows, then progress, on disk."""
        self._map.flush()
        record = json.dumps({"key": self._key, "done": self.done}).encode()
        write_beside(self._progress, record)
        self._flushed = time.monotonic()

    def finish(self) -> npt.NDArray[Any]:
        """Rename the file into place; the array stays mapped."""
        self._map.flush()
        mark(self.path, self.array.dtype)
        self._part.replace(self.path)
        self._progress.unlink(missing_ok=True)
        return self.array

    def _found(self) -> int:
        if not self._part.exists() or not self._progress.exists():
            return 0
        record = json.loads(self._progress.read_text())
        return int(record["done"]) if record["key"] == self._key else 0


def open_output(
    out: Any,
    shape: tuple[int, int],
    dtype: str,
    key: str,
) -> Output:
    """Where rows go: memory, an array of the caller's, or a resumable file."""
    kind = np.uint16 if dtype == "bfloat16" else np.float32
    if out is None:
        return Output(np.empty(shape, dtype=kind))
    if isinstance(out, (str, os.PathLike)):
        return ResumableFile(out, shape, kind, key)
    if not isinstance(out, (np.ndarray, BFloat16Rows)):
        raise TypeError(f"out must be an array or a path, found {type(out).__name__}")
    array = out.bits if isinstance(out, BFloat16Rows) else out
    if out.shape != shape or str(out.dtype) != dtype or not array.flags.c_contiguous:
        raise ValueError(
            f"out must be a C-contiguous {dtype} array of shape {shape}, found {out.dtype} "
            f"{out.shape}"
        )
    return Output(array)


class Progress:
    """Results of one experiment in a JSON file; another experiment's are refused.

    Parameters
    ----------
    path : Path
    identity : dict
        What has to agree for results to be of one experiment, as JSON keeps it.
    start : dict
        The state of an experiment that has no file yet.

    Raises
    ------
    ValueError
        If the file is of another experiment.
    """

    def __init__(self, path: Path, identity: dict[str, Any], start: dict[str, Any]) -> None:
        self.path, self.identity = path, identity
        self.state: dict[str, Any] = {"identity": identity, **start}
        if path.is_file():
            self.state = json.loads(path.read_text())
            found = self.state["identity"]
            other = [name for name in identity if found.get(name) != identity[name]]
            if other:
                raise ValueError(
                    f"out must be empty or hold results of the same plan; {other[0]} is "
                    f"{found.get(other[0])!r} in {path}, expected {identity[other[0]]!r}"
                )

    def write(self) -> None:
        """Replace the file."""
        write_beside(self.path, json.dumps(self.state, indent=1).encode())
