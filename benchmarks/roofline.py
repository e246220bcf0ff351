"""Achieved rate of each hot loop beside the ceiling of this machine, in one run, one thread.

python benchmarks/roofline.py

Compiles roofline.cpp with the core's sources and flags into build/ and runs it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ("kernels", "dense_rows", "factored_rows", "gradients")


def main() -> None:
    binary = ROOT / "build" / "roofline"
    binary.parent.mkdir(exist_ok=True)
    command = [os.environ.get("CXX", "c++"), "-O3", "-DNDEBUG", "-std=c++17", "-ffp-contract=off"]
    command += ["-pthread", f"-I{ROOT / 'cpp'}", str(ROOT / "benchmarks" / "roofline.cpp")]
    command += [str(ROOT / "cpp" / f"{name}.cpp") for name in SOURCES]
    subprocess.run([*command, "-o", str(binary)], check=True)
    subprocess.run([str(binary)], check=True)


if __name__ == "__main__":
    main()
