"""Real servers for all tests here: of the sample repository, and of small models made for tests.

Each once as it comes, with HTTP/2 of our own, and once with grpcio alone.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.golden import golden
from tests.e2e.workshop import furnish
from tests.server_process import ROOT, SAMPLES, Server, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serves the samples as `make serve` does."""
    with running(tmp_path_factory.mktemp("samples") / "log", SAMPLES) as server:
        yield server


@pytest.fixture(scope="session")
def server_on_grpcio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("samples") / "log"
    with running(log, SAMPLES, options=["--grpc-front=grpcio"]) as server:
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
def workshop_on_grpcio(workshop_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    log = tmp_path_factory.mktemp("log") / "log"
    with running(log, workshop_folder, options=["--grpc-front=grpcio"]) as server:
        yield server


@pytest.fixture(params=["server", "server_on_grpcio"], ids=["front", "grpcio"])
def each_server(request: pytest.FixtureRequest) -> Server:
    """The samples, by either way of gRPC."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(params=["workshop", "workshop_on_grpcio"], ids=["front", "grpcio"])
def each_workshop(request: pytest.FixtureRequest) -> Server:
    """The small models, by either way of gRPC."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture(scope="session")
def seven() -> bytes:
    """A seven as a PNG file."""
    file: bytes = golden("digits/1/examples/seven.json").inputs["IMAGE"].item()
    return file


@pytest.fixture(scope="session")
def came_of(server: Server) -> dict[str, dict[str, Any]]:
    """What kserve's clients get: protocol -> call -> what came of it."""
    command = [sys.executable, "-m", "tests.e2e.kserve_calls", server.http, server.grpc]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found
