import pytest

from tests.faults.promises import HEAD, Row

ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


@pytest.fixture
def table(request: pytest.FixtureRequest) -> list[Row]:
    """Where the rows go that are printed at the end."""
    return request.config.stash[ROWS]


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    rows = config.stash.get(ROWS, [])
    if rows:
        terminalreporter.write_sep("=", "faults and outcomes")
        terminalreporter.write_line(HEAD)
        for row in rows:
            terminalreporter.write_line(row.line())
