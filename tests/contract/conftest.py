from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.models import BROKEN, KEPT, LARGEST, SAMPLED, furnish
from tests.contract.rows import Asker
from tests.server_process import Server, running

OPTIONS = [
    *("--model-control-mode=explicit", "--repository-settle-secs=0"),
    *(f"--load-model={name}" for name in (*KEPT, *SAMPLED)),
    *(f"--http-max-input-size={LARGEST}", f"--grpc-max-message-bytes={LARGEST}"),
]


@pytest.fixture(scope="session")
def contract_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked wrongly")
    furnish(folder)
    return folder


@pytest.fixture(scope="session")
def server(contract_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The one server that everything wrong is sent to, in control mode explicit.

    All of its models serve but `broken`, which has been tried.
    """
    with running(tmp_path_factory.mktemp("log") / "log", contract_repository, options=OPTIONS) as server:
        assert server.client.post(f"/v2/repository/models/{BROKEN}/load").status_code == 400
        yield server


@pytest.fixture
def asker(server: Server) -> Iterator[Asker]:
    asker = Asker(server)
    yield asker
    asker.close()
