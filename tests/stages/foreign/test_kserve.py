"""Requests to a KServe model server, as if it were a predict tier."""

import asyncio
from time import monotonic

import numpy as np
import pytest

from server.domain.errors import DeadlineExceeded, InvalidRequest, TierUnavailable
from server.domain.state import State
from tests.kserve_server import kserve_server
from tests.lifecycle.waiting import until
from tests.relay import Relay
from tests.stages.foreign.asking import asking, row


@pytest.fixture(scope="module")
def kserve(tmp_path_factory):
    with kserve_server(tmp_path_factory.mktemp("kserve") / "log") as address:
        yield address


async def test_a_model_that_the_operator_names_is_found_and_answers(kserve):
    async with asking(f"{kserve}?model=plus&model=shy&model=missing", "plus") as at:
        answers = await asyncio.gather(*(at.ask(x=row(number, 2)) for number in range(10)))
        by_name = at.told()
    for number, answer in enumerate(answers):
        np.testing.assert_array_equal(answer["y"], row(number + 1, 2))
    assert set(by_name) == {"plus", "shy"}
    assert (by_name["plus"].version, by_name["plus"].state) == (1, State.READY)
    assert by_name["plus"].seen.inputs[0].shape == (-1, 4)


async def test_a_model_that_says_nothing_of_its_tensors_is_told_with_the_reason(kserve):
    async with asking(f"{kserve}?model=shy", "shy") as at:
        version = at.told()["shy"]
        assert version.state is State.UNAVAILABLE
        assert "does not say what it takes" in version.reason


async def test_its_refusals_are_read_as_ours(kserve):
    async with asking(f"{kserve}?model=plus", "plus") as at:
        with pytest.raises(InvalidRequest, match="x must not be below 0"):
            await at.ask(x=row(-1))


@pytest.mark.slow
async def test_a_server_that_falls_silent_is_given_up_and_found_again(kserve):
    with Relay(kserve) as relay:
        async with asking(f"{relay.address}?model=plus", "plus") as at:
            await at.ask(x=row(1))
            relay.is_dead = True
            waiting = asyncio.ensure_future(at.ask(x=row(1)))
            with pytest.raises(DeadlineExceeded):
                await at.ask(x=row(1), deadline=monotonic() + 0.2)
            with pytest.raises(TierUnavailable, match=r"the server at .* was lost"):
                await asyncio.wait_for(waiting, 16)
            assert (at.foreign.link.requests, at.foreign.link.rows, at.foreign.link.bytes) == (0, 0, 0)
            assert not at.foreign.ready
            relay.is_dead = False
            began = monotonic()
            await until(lambda: at.foreign.ready)
            np.testing.assert_array_equal((await at.ask(x=row(1)))["y"], row(2))
            assert monotonic() - began < 2
