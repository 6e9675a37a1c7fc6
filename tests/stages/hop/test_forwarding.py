"""A tier that hears of the next one a moment later than whoever sent it a request."""

import asyncio
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from server.domain.errors import TierUnavailable
from server.domain.request import InferRequest
from server.lifecycle.part_version import PartVersion
from server.lifecycle.parts import Parts
from server.lifecycle.table import Table
from server.stages.hop import forwarding
from server.stages.hop.forwarding import Forwarding
from server.stages.hop.onward import Onward
from server.stages.pool import Pool
from server.stages.route import Route
from tests.lifecycle.life import Life, living
from tests.stages.hop.there import Known, linked, there

PRE = "def preprocess(inputs): return {'x': inputs['x'] * 10}"


async def part_of(life: Life) -> PartVersion:
    """The pre part of the model m, in a lifecycle of its own."""
    offers = Parts("pre").of(life.offers)
    life.manager.apply(offers, offers.keys())
    await life.manager.settle("m")
    found = life.manager.table.find("m", "")
    assert isinstance(found, PartVersion)
    return found


def asking() -> InferRequest:
    return InferRequest("m", "", {"x": np.array([[1, 2]], np.float32)}, arrived=monotonic())


async def test_a_request_waits_for_an_endpoint_that_is_about_to_be_found(tmp_path: Path):
    pool = Pool(2, 10)
    async with living(tmp_path) as before, living(tmp_path) as behind:
        before.model("m", pre_py=PRE)
        behind.offers = dict(Parts("predict").of(before.offers))
        await behind.apply()
        known = Known()
        table: Table = before.manager.table
        route = Route(table, pool, Onward(Forwarding(known, max_waiting=10)))
        async with there(behind.manager.table, pool) as other, linked(other) as link:
            asked = asyncio.create_task(route.infer(await part_of(before), asking()))
            await asyncio.sleep(0.02)
            assert not asked.done()
            known.links.append(link)
            assert (await asked).outputs["y"].tolist() == [[11, 21]]
    pool.close()


async def test_a_request_that_finds_no_endpoint_in_time_is_told_which_tier_it_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(forwarding, "PATIENCE_S", 0.05)
    pool = Pool(2, 10)
    async with living(tmp_path) as before:
        before.model("m", pre_py=PRE)
        route = Route(before.manager.table, pool, Onward(Forwarding(Known(), max_waiting=10)))
        served = await part_of(before)
        began = monotonic()
        with pytest.raises(TierUnavailable, match="the predict tier cannot answer for model 'm'"):
            await route.infer(served, asking())
        assert 0.05 <= monotonic() - began < 5
        asked = asyncio.create_task(route.infer(served, asking()))
        await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    pool.close()
