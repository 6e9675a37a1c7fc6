import pytest

from tests.faults.ground import ROWS
from tests.faults.promises import HEAD


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if rows:
        terminalreporter.write_sep("=", "faults and outcomes")
        terminalreporter.write_line(HEAD)
        for row in rows:
            terminalreporter.write_line(row.line())
