"""What may be under way to another tier at once, and what may be sent there a second time."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.configuration import ModelConfig
from server.domain.errors import TierUnavailable
from server.stages.hop.retries import RetryBudget
from tests.e2e.workshop import slow
from tests.lifecycle.shelf import plus
from tests.lifecycle.waiting import until
from tests.stages.hop.test_hop import BATCHING
from tests.stages.hop.there import Here, Known, linked, there
from tests.stages.test_route import row
from tests.stages.tier import tier


async def test_no_more_requests_are_under_way_than_may_be_and_the_others_wait_for_them(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=slow()), config=ModelConfig(name="m")))
        async with there(at.manager.table, pool) as other, linked(other, max_requests=3) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            asking = [asyncio.create_task(here.ask(rounds=np.array([[200]]))) for _ in range(12)]
            most, waited = 0, 0
            while not all(task.done() for task in asking):
                most, waited = max(most, link.requests), max(waited, here.sender.waiting)
                await asyncio.sleep(0.001)
            await asyncio.gather(*asking)
            assert 1 <= most <= 3
            assert waited >= 6
            assert link.carried == 12


async def test_no_more_bytes_are_under_way_than_may_be_but_one_request_alone(shelf, pool):
    config = ModelConfig(name="m", max_batch_size=8)
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(model=plus(1, "width")), config=config))
        async with there(at.manager.table, pool) as other, linked(other, max_bytes=100_000) as link:
            here = Here(at.manager.table, pool, Known(link), ("predict",))
            asking = [asyncio.create_task(here.ask(x=np.full((1, 10_000), n, np.float32))) for n in range(10)]
            most = 0
            while not all(task.done() for task in asking):
                most = max(most, link.bytes)
                await asyncio.sleep(0)
            for n, answer in enumerate(await asyncio.gather(*asking)):
                assert (answer.outputs["y"] == n + 1).all()
            assert most > 40_000
            assert link.bytes == 0
            alone = await here.ask(x=np.zeros((1, 100_000), np.float32))
            assert alone.outputs["y"].shape == (1, 100_000), "larger than the bound, and by itself"
            assert link.takes(99_000)
            link._open.bytes += 2_000
            assert not link.takes(99_000)
            link._open.bytes -= 2_000


@given(st.lists(st.one_of(st.just(0), st.integers(1, 50)), max_size=300))
def test_no_more_is_sent_once_more_than_a_share_of_all_and_what_was_saved_up(events):
    budget = RetryBudget(share=0.2, most=10)
    earned = 0
    for requests in events:
        if requests:
            budget.earn(requests)
            earned += requests
        else:
            left = budget.left
            assert budget.spend() == (left >= 1)
        assert budget.spent <= 10 + 0.2 * earned
        assert 0 <= budget.left <= 10


async def test_a_tier_that_refuses_everything_is_not_asked_again_without_end(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        table = at.manager.table
        async with there(table, pool) as other, linked(other) as link:
            here = Here(table, pool, Known(link), ("predict",))
            other.station.move_to(other.station.phase.STOPPING)  # it refuses, and does not say that it leaves
            budget = here.sender._budget
            while budget.left:
                with pytest.raises(TierUnavailable):
                    await here.ask(x=row(1, 1))
            await until(lambda: link.requests == 0)
            before = link.carried
            for _ in range(20):
                with pytest.raises(TierUnavailable):
                    await here.ask(x=row(1, 1))
            assert link.carried <= before + 20 * 1.25 + 1, "a fifth of all that was sent may be sent again"
