from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e_security.keys import write_keys
from tests.server_process import SAMPLES, Server, running


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of one small model."""
    folder = tmp_path_factory.mktemp("guarded") / "models"
    folder.mkdir()
    (folder / "iris").symlink_to(SAMPLES / "iris")
    return folder


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Server]:
    """A server that knows the callers of `keys.KEYS`, and nobody else."""
    folder = tmp_path_factory.mktemp("keys")
    keys = write_keys(folder / "keys.json")
    options = [f"--api-keys={keys}", "--model-control-mode=explicit", "--load-model=iris"]
    with running(folder / "log", model, options=options) as server:
        yield server
