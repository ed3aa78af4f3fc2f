"""Shows the files that want dividing in the summary of a test run."""

from __future__ import annotations

import pytest

from tests.architecture.source_tree import PACKAGES, modules

LONG_LINES = 300


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for module in modules(*PACKAGES, "tests", "benchmarks", "examples"):
        if module.line_count > LONG_LINES:
            terminalreporter.write_line(f"long file: {module.path} has {module.line_count} lines")
