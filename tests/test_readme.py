"""The README's Python blocks run, in order, as one program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


def test_code_blocks(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block.replace("/tmp/", f"{tmp_path}/"), str(README), "exec"), names)
    assert "removed" in capsys.readouterr().out
    check = names["check"]
    assert check.change < check.random_change / 3


def test_the_two_commands_are_targets():
    makefile = (README.parent / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"$ make {target}\n" in README.read_text()
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
