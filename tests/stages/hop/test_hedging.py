"""A request that is slow to be answered goes to a second endpoint as well, where its model allows that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import numpy as np
import pytest

from server.domain.configuration import InstanceGroup, InstanceKind, ModelConfig
from server.domain.errors import DeadlineExceeded, InferenceFailed, TierUnavailable
from server.domain.request import InferRequest
from server.domain.tensors import Tensors
from server.scheduling.ticket import Ticket
from server.stages.hop.hedging import MOST, hedge_ms_of
from server.stages.hop.link import Link
from server.stages.pool import Pool
from tests.e2e.workshop import slow
from tests.lifecycle.waiting import until
from tests.relay import Relay
from tests.stages.hop.test_hop import BATCHING, third_of
from tests.stages.hop.there import Here, Known, linked, there
from tests.stages.test_route import row
from tests.stages.tier import Tier, tier


@dataclass
class Two:
    """Endpoints of the predict tier, of which the first is asked first, and can stop to answer."""

    here: Here
    to_first: Link
    to_second: Link
    wire: Relay


@asynccontextmanager
async def two(at: Tier, pool: Pool, hedge_ms: float | None) -> AsyncIterator[Two]:
    table = at.manager.table
    async with there(table, pool) as first, there(table, pool) as second:
        with Relay(f"127.0.0.1:{first.port}") as wire:
            async with (
                linked(first, int(wire.address.rpartition(":")[2])) as to_first,
                linked(second) as to_second,
            ):
                to_second._open.rows += 1_000_000  # somebody else's
                here = Here(table, pool, Known(to_first, to_second), ("predict",), hedge_ms=hedge_ms)
                yield Two(here, to_first, to_second, wire)


async def test_whoever_answers_first_is_heard_and_the_other_is_told_that_nobody_waits(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with two(at, pool, hedge_ms=30) as ends:
            ends.wire.is_dead = True
            began = monotonic()
            answers = await asyncio.gather(*(ends.here.ask(x=row(n, n)) for n in range(8)))
            assert 0.03 <= monotonic() - began < 2
            assert [each.outputs["y"].tolist() for each in answers] == [[[n + 1, n + 1]] for n in range(8)]
            assert ends.here.hedges.counts == (8, 8)
            assert ends.here.tally.inference_count == 8, "what was sent twice counts once"
            assert ends.to_first.rows == 0
            ends.wire.is_dead = False  # what was held up comes through: late answers, to nobody
            await until(lambda: ends.to_first.bytes == 0)
            assert (await ends.here.ask(x=row(1, 1))).outputs["y"].tolist() == [[2, 2]]
            assert not ends.here.sender.is_busy


async def test_what_is_answered_in_time_is_sent_once(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with two(at, pool, hedge_ms=5_000) as ends:
            for n in range(50):
                await ends.here.ask(x=row(n, n))
            assert ends.here.hedges.counts == (0, 0)
            assert ends.to_second.parcels == 0


async def test_a_model_that_does_not_say_so_is_never_asked_twice(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with two(at, pool, hedge_ms=None) as ends:
            ends.wire.is_dead = True
            with pytest.raises(DeadlineExceeded):
                await ends.here.ask(InferRequest("m", "", {"x": row(1, 1)}, deadline=monotonic() + 0.3))
            assert ends.to_second.parcels == 0


async def test_the_first_may_be_first_after_all(shelf, pool):
    async with tier() as at:
        alone = ModelConfig(name="m", instance_groups=(InstanceGroup(kind=InstanceKind.CPU, count=1),))
        await at.serve(shelf.offer(shelf.put(model=slow()), config=alone))
        async with two(at, pool, hedge_ms=5) as ends:  # both wait for one instance: first come, first served
            answer = await ends.here.ask(rounds=np.array([[3000]]))
            assert list(answer.outputs) == ["y"]
            assert ends.here.hedges.counts == (1, 0)
            await until(lambda: ends.to_second.parcels == 1 and ends.to_second.requests == 0)
            await until(lambda: at.tally.pending == 0)
            assert at.tally.execution_count == 1, "the copy left the queue before it ran"


async def test_an_endpoint_that_is_lost_leaves_its_requests_to_the_other(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow()), config=ModelConfig(name="m")))
        async with two(at, pool, hedge_ms=20) as ends:
            ends.wire.is_dead = True
            asking = asyncio.create_task(ends.here.ask(rounds=np.array([[3000]])))
            await until(lambda: ends.to_second.parcels == 1)
            ends.wire.is_down = True
            ends.wire.cut()
            await until(lambda: not ends.to_first.up)
            assert list((await asking).outputs) == ["y"]


async def test_what_fails_at_both_is_told_once(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=third_of(1)), config=BATCHING))
        async with two(at, pool, hedge_ms=20) as ends:
            ends.wire.delay_s = 0.1
            with pytest.raises(InferenceFailed, match="model 'm' version 1 failed"):
                await ends.here.ask(at=np.array([[7]]))
            assert ends.here.hedges.counts == (1, 0)
            assert not ends.here.sender.is_busy


async def test_an_answer_that_its_caller_cannot_be_given_ends_both(shelf, pool):
    def refused(ticket: Ticket, outputs: Tensors) -> Tensors:
        raise InferenceFailed("m", 1, "it does not fit")

    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with two(at, pool, hedge_ms=20) as ends:
            ends.here.sender._fit = refused
            ends.wire.is_dead = True
            with pytest.raises(InferenceFailed, match="it does not fit"):
                await ends.here.ask(x=row(1, 1))
            assert ends.to_first.requests == ends.to_second.requests == 0
            assert not ends.here.sender.is_busy


async def test_whose_time_is_over_is_waited_for_by_neither(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow()), config=ModelConfig(name="m")))
        async with two(at, pool, hedge_ms=20) as ends:
            asked = InferRequest("m", "", {"rounds": np.array([[20_000]])}, deadline=monotonic() + 0.3)
            with pytest.raises(DeadlineExceeded):
                await ends.here.ask(asked)
            assert ends.here.hedges.counts == (1, 0)
            assert ends.to_first.requests == ends.to_second.requests == 0
            assert not ends.here.sender.is_busy


async def test_without_a_second_endpoint_a_slow_one_is_waited_for(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow()), config=ModelConfig(name="m")))
        async with there(at.manager.table, pool) as other, linked(other) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",), hedge_ms=5)
            assert list((await here.ask(rounds=np.array([[3000]]))).outputs) == ["y"]
            assert here.hedges.counts == (0, 0)
            assert link.parcels == 1


async def test_a_tier_that_is_slow_as_a_whole_is_asked_little_more(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with two(at, pool, hedge_ms=20) as ends:
            ends.wire.is_dead = True
            asking = [asyncio.create_task(ends.here.ask(x=row(n, n))) for n in range(200)]
            await until(lambda: ends.here.hedges.counts[1] > 0)
            await asyncio.sleep(0.1)
            assert ends.here.hedges.counts[0] <= MOST
            ends.wire.is_dead = False
            answers = await asyncio.gather(*asking)
            assert [each.outputs["y"].tolist() for each in answers] == [[[n + 1, n + 1]] for n in range(200)]


async def test_who_answers_nothing_while_the_other_does_is_left_alone(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with two(at, pool, hedge_ms=20) as ends:
            ends.wire.is_dead = True
            for n in range(5):
                assert (await ends.here.ask(x=row(n, n))).outputs["y"].tolist() == [[n + 1, n + 1]]
            assert ends.to_first.outlier.is_out(monotonic())
            began = monotonic()
            await ends.here.ask(x=row(1, 1))
            assert monotonic() - began < 0.02, "it went to the other at once"
            assert ends.here.hedges.counts == (5, 5)


async def test_when_both_are_lost_it_is_said(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow()), config=ModelConfig(name="m")))
        async with two(at, pool, hedge_ms=20) as ends:
            asking = asyncio.create_task(ends.here.ask(rounds=np.array([[20_000]])))
            await until(lambda: ends.to_second.parcels == 1)
            for link in (ends.to_first, ends.to_second):
                link._open.close("the test cut it")
            with pytest.raises(TierUnavailable, match="the test cut it"):
                await asking


def test_only_the_way_to_the_predict_tier_is_hedged():
    config = ModelConfig(name="m", hedge_after_ms=40)
    assert hedge_ms_of(("predict", "post"), config) == 40
    assert hedge_ms_of(("pre", "predict"), config) is None
    assert hedge_ms_of(("predict",), ModelConfig(name="m")) is None
