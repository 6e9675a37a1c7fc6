"""Requests to a KServe model server, as if it were a predict tier."""

import asyncio

import numpy as np
import pytest

from server.domain.errors import InvalidRequest
from server.domain.state import State
from tests.kserve_server import kserve_server
from tests.stages.foreign.asking import asking, row


@pytest.fixture(scope="module")
def kserve(tmp_path_factory):
    with kserve_server(tmp_path_factory.mktemp("kserve") / "log") as address:
        yield address


async def test_a_model_that_the_operator_names_is_found_and_answers(kserve):
    async with asking(f"{kserve}?model=plus&model=shy&model=missing", "plus") as at:
        answers = await asyncio.gather(*(at.ask(x=row(number, 2)) for number in range(10)))
        report = at.foreign.report()
    for number, answer in enumerate(answers):
        np.testing.assert_array_equal(answer["y"], row(number + 1, 2))
    by_name = {version.model: version for version in report.versions}
    assert set(by_name) == {"plus", "shy"}
    assert (by_name["plus"].version, by_name["plus"].state) == (1, State.READY)
    assert by_name["plus"].seen.inputs[0].shape == (-1, 4)


async def test_a_model_that_says_nothing_of_its_tensors_is_told_with_the_reason(kserve):
    async with asking(f"{kserve}?model=shy", "shy") as at:
        (version,) = at.foreign.report().versions
        assert version.state is State.UNAVAILABLE
        assert "does not say what it takes" in version.reason


async def test_its_refusals_are_read_as_ours(kserve):
    async with asking(f"{kserve}?model=plus", "plus") as at:
        with pytest.raises(InvalidRequest, match="x must not be below 0"):
            await at.ask(x=row(-1))
