"""Matrices of rows in ``.npy`` files.

NumPy's format knows no bfloat16. Such a matrix is a uint16 ``S.npy`` of its bits with
``S.npy.json`` beside it, which holds ``{"dtype": "bfloat16"}``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dprune.bfloat16 import BFloat16Rows
from dprune.result import write_beside


def open_rows(path: str | os.PathLike[str]) -> npt.NDArray[Any] | BFloat16Rows:
    """Map a file of rows into memory, without reading it.

    Parameters
    ----------
    path : path-like
        An ``.npy`` file; with a JSON file beside it, of bfloat16 numbers.

    Returns
    -------
    numpy.memmap or BFloat16Rows

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the JSON file names another type than bfloat16, or lies beside other than uint16.
    """
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    sidecar = _sidecar(path)
    if not sidecar.exists():
        return array
    dtype = json.loads(sidecar.read_text()).get("dtype")
    if dtype != "bfloat16" or array.dtype != np.uint16:
        raise ValueError(
            f"{sidecar} must say dtype bfloat16 of a uint16 matrix, found {dtype!r} beside "
            f"{array.dtype}"
        )
    return BFloat16Rows(array)


def save_rows(path: str | os.PathLike[str], S: npt.NDArray[Any] | BFloat16Rows) -> None:
    """Write rows to a file that :func:`open_rows` reads; it appears when it is complete."""
    part = Path(f"{os.fspath(path)}.part")
    with part.open("wb") as file:
        np.save(file, S.bits if isinstance(S, BFloat16Rows) else S)
    mark(path, S.dtype)
    part.replace(path)


def mark(path: str | os.PathLike[str], dtype: Any) -> None:
    """Write the JSON file that makes uint16 bits bfloat16 numbers; for other types remove it."""
    if str(dtype) in ("bfloat16", "uint16"):
        write_beside(_sidecar(path), json.dumps({"dtype": "bfloat16"}).encode())
    else:
        _sidecar(path).unlink(missing_ok=True)


def is_mapped(array: npt.NDArray[Any]) -> bool:
    """Whether an array lies in a mapped file."""
    return isinstance(array, np.memmap) and array.filename is not None


def _sidecar(path: str | os.PathLike[str]) -> Path:
    return Path(f"{os.fspath(path)}.json")
