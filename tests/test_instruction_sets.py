"""The vector loops give the same bits whatever the processor can do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")


@pytest.mark.skipif(COMPILER is None, reason="no g++")
def test_same_bits_with_wide_and_with_narrow_vectors(tmp_path):
    """This processor's copy of each loop beside the one for vectors of 16 bytes."""
    printed = []
    for name, flags in (("wide", []), ("narrow", ["-U__linux__"])):  # as simd.h chooses
        program = tmp_path / name
        sources = [HERE / "kernel_bits.cpp", HERE.parent / "cpp" / "kernels.cpp"]
        options = ["-std=c++17", "-O3", "-ffp-contract=off", f"-I{HERE.parent / 'cpp'}", *flags]
        subprocess.run([COMPILER, *options, *sources, "-o", program], check=True, timeout=300)
        printed.append(subprocess.run([program], check=True, capture_output=True, text=True).stdout)
    wide, narrow = (text.splitlines() for text in printed)
    assert len(wide) > 150
    assert wide == narrow
