"""The few faults that every run of the tests has: the rest takes minutes (`make faults`)."""

import time
from collections.abc import Iterator

import pytest

from tests.faults.ground import ROWS, Ground
from tests.faults.ground import ground as ground_of


@pytest.fixture(scope="module")
def ground(request, tmp_path_factory) -> Iterator[Ground]:
    scratch = tmp_path_factory.mktemp("faults")
    with ground_of(scratch, request.config.stash[ROWS], pre=1, predict=2, post=1, gateway=1) as made:
        yield made


def test_kill_9_of_one_of_two_under_load(ground):
    with ground.under_load("few: kill -9 of predict-1, one of two") as (harm, _):
        ground.fleet["predict-1"].kill()
        time.sleep(0.2)
        ground.back("predict-1", harm)
