"""The same models served fused, and by one process of each tier behind a gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e_tiers.kitchen import furnish
from tests.server_process import Server, running
from tests.tier_processes import Tiers, in_tiers


@pytest.fixture(scope="package")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kitchen")
    furnish(folder)
    return folder


@pytest.fixture(scope="package")
def tiers(kitchen: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiers]:
    with in_tiers(tmp_path_factory.mktemp("logs"), kitchen) as tiers:
        yield tiers


@pytest.fixture(scope="package")
def fused(kitchen: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("logs") / "fused.log", kitchen) as server:
        yield server


@pytest.fixture
def pre(tiers: Tiers) -> Server:
    return tiers.pre[0]


@pytest.fixture
def predict(tiers: Tiers) -> Server:
    return tiers.predict[0]


@pytest.fixture
def post(tiers: Tiers) -> Server:
    return tiers.post[0]


@pytest.fixture
def gateway(tiers: Tiers) -> Server:
    return tiers.gateway[0]
