"""Two real servers for all tests here: one of the sample repository, one of small models made for tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.golden import golden
from tests.e2e.workshop import furnish
from tests.server_process import SAMPLES, Server, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves the samples as `make serve` does."""
    with running(tmp_path_factory.mktemp("samples") / "log", SAMPLES) as server:
        yield server


@pytest.fixture(scope="session")
def workshop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    furnish(folder)
    return folder


@pytest.fixture(scope="session")
def workshop(workshop_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves the models of `tests.e2e.workshop`."""
    with running(tmp_path_factory.mktemp("log") / "log", workshop_folder) as server:
        yield server


@pytest.fixture(scope="session")
def seven() -> bytes:
    """A seven as a PNG file."""
    file: bytes = golden("digits/1/examples/seven.json").inputs["IMAGE"].item()
    return file
