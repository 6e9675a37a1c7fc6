"""Requests to Triton's C++ server, as if it were a predict tier."""

import asyncio
import json
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from server.domain.errors import (
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    RequestCancelled,
    TierUnavailable,
)
from tests.lifecycle.waiting import until
from tests.stages.foreign.asking import asking, row
from tests.triton_models import lay_triton_models
from tests.triton_server import triton_server

pytestmark = pytest.mark.pytriton


@pytest.fixture(scope="module")
def triton(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("triton")
    lay_triton_models(scratch / "models")
    with triton_server(scratch / "models", scratch) as server:
        yield server


async def test_requests_that_come_together_share_calls_up_to_what_the_server_batches(triton):
    async with asking(triton.grpc, "double") as at:
        answers = await asyncio.gather(*(at.ask(x=row(number, 1 + number % 3)) for number in range(40)))
    for number, answer in enumerate(answers):
        np.testing.assert_array_equal(answer["y"], row(2 * number, 1 + number % 3))
    seen = [int(answer["rows"][0, 0]) for answer in answers]
    assert max(seen) in (7, 8)
    assert np.mean(seen) > 4


async def test_a_model_without_a_batch_dimension_is_asked_one_by_one(triton):
    async with asking(triton.grpc, "shout") as at:
        words = [np.array([b"a", f"n{number}".encode()], object) for number in range(9)]
        answers = await asyncio.gather(*(at.ask(words=each) for each in words))
    assert [list(answer["loud"]) for answer in answers] == [[b"A", f"N{n}".encode()] for n in range(9)]


async def test_the_parameters_of_a_request_reach_the_model(triton):
    async with asking(triton.grpc, "shout") as at:
        answer = await at.ask(words=np.array([b"a"], object), parameters={"temper": 3, "kind": "x"})
    assert json.loads(answer["parameters"][0]) == {"temper": 3, "kind": "x"}


async def test_requests_with_other_parameters_share_no_call(triton):
    async with asking(triton.grpc, "double") as at:
        answers = await asyncio.gather(
            *(at.ask(x=row(number), parameters={"kind": number % 2}) for number in range(8))
        )
    assert max(int(answer["rows"][0, 0]) for answer in answers) <= 4


async def test_a_request_that_the_model_refuses_does_not_fail_those_it_came_with(triton):
    async with asking(triton.grpc, "double") as at:
        outcomes = await asyncio.gather(
            *(at.ask(x=row(-1 if number == 3 else number)) for number in range(7)), return_exceptions=True
        )
    assert isinstance(outcomes[3], InvalidRequest)
    assert "x must not be below 0" in str(outcomes[3])
    for number in (0, 1, 2, 4, 5, 6):
        np.testing.assert_array_equal(outcomes[number]["y"], row(2 * number))


async def test_a_model_that_breaks_is_told_as_its_failure(triton):
    async with asking(triton.grpc, "double") as at:
        with pytest.raises(InferenceFailed, match=r"model 'double' version 1 failed: .*x is no number"):
            await at.ask(x=row(np.nan))


async def test_a_version_that_is_not_there_is_told_as_the_tier_that_cannot_answer(triton):
    async with asking(triton.grpc, "missing") as at:
        with pytest.raises(TierUnavailable, match="predict tier cannot answer for model 'missing'"):
            await at.ask(x=row(1))


async def test_a_deadline_ends_the_wait_and_the_call(triton):
    async with asking(triton.grpc, "double") as at:
        began = monotonic()
        with pytest.raises(DeadlineExceeded):
            await at.ask(x=row(800), deadline=began + 0.2)
        assert 0.19 < monotonic() - began < 0.4
        await until(lambda: not at.foreign.link.requests)
        assert (at.foreign.link.rows, at.foreign.link.bytes) == (0, 0)


async def test_a_caller_who_leaves_takes_its_call_along(triton):
    async with asking(triton.grpc, "double", max_calls=1) as at:
        link = at.foreign.link
        asked = asyncio.ensure_future(at.ask(x=row(900)))
        await until(lambda: link.rows == 1 and not link.takes(1))
        at.sender.leave(at.sent[0], RequestCancelled("double"))
        with pytest.raises(RequestCancelled):
            await asked
        assert (link.rows, link.requests, link.bytes) == (0, 0, 0)
        await until(lambda: link.takes(1), within_s=0.4)


async def test_no_more_calls_are_under_way_than_may_be_and_the_rest_gathers(triton):
    async with asking(triton.grpc, "double", max_calls=1) as at:
        first = asyncio.ensure_future(at.ask(x=row(200)))
        await until(lambda: at.foreign.link.rows == 1)
        others = [asyncio.ensure_future(at.ask(x=row(number))) for number in range(8)]
        await asyncio.sleep(0.05)
        assert at.foreign.link.rows == 1
        answers = await asyncio.gather(*others)
        await first
    assert {int(answer["rows"][0, 0]) for answer in answers} == {8}


async def test_what_it_has_is_told_as_a_tier_tells_it(triton):
    async with asking(triton.grpc, "double") as at:
        by_name = at.told()
    assert set(by_name) == {"double", "shout"}
    double = by_name["double"]
    assert (double.version, double.stages, double.ready) == (1, ("predict",), True)
    assert double.content.startswith("oip:")
    assert double.seen is not None
    assert (double.seen.max_batch_size, double.seen.inputs[0].shape) == (8, (-1, 4))
    assert by_name["shout"].seen.inputs[0].shape == (-1,)


async def test_a_server_that_dies_fails_its_requests_and_is_back_soon_after_it_is(tmp_path: Path):
    lay_triton_models(tmp_path / "models")
    with triton_server(tmp_path / "models", tmp_path) as first:
        async with asking(first.grpc, "double") as at:
            asked = [asyncio.ensure_future(at.ask(x=row(2000))) for _ in range(3)]
            await until(lambda: at.foreign.link.rows == 3)
            first.process.kill()
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(each, TierUnavailable) for each in outcomes)
            await until(lambda: not at.foreign.link.up)
            with pytest.raises(TierUnavailable, match="no endpoint that is ready"):
                await at.ask(x=row(1))
            port = int(first.grpc.rpartition(":")[2])
            with await asyncio.to_thread(_begun_again, tmp_path, port):
                began = monotonic()
                await until(lambda: at.foreign.link.up)
                assert monotonic() - began < 2
                answer = await at.ask(x=row(1))
                np.testing.assert_array_equal(answer["y"], row(2))


def _begun_again(scratch: Path, port: int):
    again = triton_server(scratch / "models", scratch, grpc_port=port)
    again.__enter__()

    class Leaving:
        def __enter__(self):
            return self

        def __exit__(self, *told):
            again.__exit__(*told)

    return Leaving()
