"""Compare the committed stubs of the native modules with what they offer, or write them anew.

python tests/check_stubs.py [--write]
"""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "python" / "dprune"


def generate(module: str) -> str:
    """The stub of one native module, as pybind11-stubgen sees it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pybind11_stubgen", module, "-o", folder, "--exit-code"],
            check=True,
            capture_output=True,
        )
        return Path(folder, *module.split(".")).with_suffix(".pyi").read_text()


def main() -> int:
    """Exit status 1 if a committed stub differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the stubs")
    write = parser.parse_args().write
    status = 0
    for module in ("dprune._core", "dprune._cuda"):
        if importlib.util.find_spec(module) is None:
            print(f"{module} was not built: its stub is not checked")
            continue
        path = PACKAGE / f"{module.rpartition('.')[2]}.pyi"
        fresh = generate(module)
        if write:
            path.write_text(fresh)
        elif path.read_text() != fresh:
            status = 1
            sys.stdout.writelines(
                difflib.unified_diff(
                    path.read_text().splitlines(True),
                    fresh.splitlines(True),
                    str(path),
                    "make stubs",
                )
            )
    return status


if __name__ == "__main__":
    sys.exit(main())
