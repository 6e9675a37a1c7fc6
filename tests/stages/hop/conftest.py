from collections.abc import Iterator
from pathlib import Path

import pytest

from server.stages.pool import Pool
from tests.lifecycle.shelf import Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "m")


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(4, 1000)
    yield pool
    pool.close()
