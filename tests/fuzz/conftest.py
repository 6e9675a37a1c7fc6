from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import OPTIONS
from tests.contract.models import BROKEN, furnish
from tests.contract.rows import Asker
from tests.fuzz.harm import Watched
from tests.server_process import Server, running


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzzed")
    furnish(folder)
    return folder


@pytest.fixture(scope="session", params=["native", "grpcio"])
def front(request: pytest.FixtureRequest) -> str:
    """Of the two gRPC fronts."""
    return str(request.param)


def fuzzed(front: str, repository: Path, log: Path) -> Iterator[Server]:
    with running(log, repository, options=[*OPTIONS, f"--grpc-front={front}"]) as server:
        assert server.client.post(f"/v2/repository/models/{BROKEN}/load").status_code == 400
        yield server


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Asked over HTTP."""
    yield from fuzzed("native", repository, tmp_path_factory.mktemp("log") / "log")


@pytest.fixture(scope="session")
def grpc_server(front: str, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Asked over gRPC, by one front after the other."""
    yield from fuzzed(front, repository, tmp_path_factory.mktemp("log") / "log")


@pytest.fixture
def asker(server: Server) -> Iterator[Asker]:
    with Watched(server):
        asker = Asker(server)
        yield asker
        asker.close()


@pytest.fixture
def grpc_asker(grpc_server: Server) -> Iterator[Asker]:
    with Watched(grpc_server):
        asker = Asker(grpc_server)
        yield asker
        asker.close()
