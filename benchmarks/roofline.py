"""Achieved rate of each hot loop beside the ceiling of this machine, in one run, one thread.

python benchmarks/roofline.py

Compiles roofline.cpp with the core's sources and flags into build/ and runs it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = ("kernels", "products", "dense_rows", "factored_rows", "gradients")
FUSED = ("products", "roofline")


def main() -> None:
    build = ROOT / "build" / "roofline"
    build.mkdir(parents=True, exist_ok=True)
    compiler = os.environ.get("CXX", "c++")
    flags = ["-O3", "-DNDEBUG", "-std=c++17", "-pthread", f"-I{ROOT / 'cpp'}"]
    objects = []
    for source in [ROOT / "cpp" / f"{name}.cpp" for name in SOURCES] + [
        ROOT / "benchmarks" / "roofline.cpp"
    ]:
        contract = "fast" if source.stem in FUSED else "off"
        objects.append(str(build / f"{source.stem}.o"))
        command = [compiler, *flags, f"-ffp-contract={contract}", "-c", str(source)]
        subprocess.run([*command, "-o", objects[-1]], check=True)
    binary = build / "roofline"
    subprocess.run([compiler, "-pthread", *objects, "-o", str(binary)], check=True)
    subprocess.run([str(binary)], check=True)


if __name__ == "__main__":
    main()
