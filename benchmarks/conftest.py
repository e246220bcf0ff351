"""Prints what each benchmark measured beside its time: instance, quality, rates."""

from __future__ import annotations


def pytest_terminal_summary(terminalreporter, config):
    """One line a benchmark."""
    session = getattr(config, "_benchmarksession", None)
    for bench in session.benchmarks if session else []:
        if bench.extra_info:
            facts = ", ".join(f"{key}: {value}" for key, value in bench.extra_info.items())
            terminalreporter.write_line(f"{bench.name}: {facts}")
