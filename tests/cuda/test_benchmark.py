"""The benchmark of a GPU goes through its steps without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_dry_run(tmp_path):
    done = subprocess.run(
        [sys.executable, _BENCHMARKS / "gpu.py", "--dry", "--out", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert [line["section"] for line in lines][:3] == ["device", "kernels", "products"]
    assert len(lines) == 11
