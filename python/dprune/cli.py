"""The command line: ``dprune --help``."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point; says which extra is missing when typer is not installed."""
    try:
        from dprune._commands import app
    except ImportError as error:
        sys.exit(f"the dprune command needs {error.name}: pip install 'dprune[report]'")
    app()
