"""Code that is all that a tier has of a version: requests of bundles go through it without a task each."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np

from server.domain.errors import InvalidRequest, QueueFull, StageFailed
from server.lifecycle.part_version import PartVersion
from server.lifecycle.parts import Parts
from server.stages.pool import Pool
from tests.lifecycle.life import living
from tests.lifecycle.waiting import until
from tests.stages.gate import Gate
from tests.stages.hop.there import Here, Known, linked, there

FUSSY = """
def preprocess(inputs):
    if (inputs["x"] < 0).any():
        raise ValueError("x must not be negative")
    if (inputs["x"] == 0).any():
        raise KeyError("x")
    return {"x": inputs["x"] * 2}
"""
INPUTS = "INPUTS = [{'name': 'x', 'datatype': 'FP32', 'shape': [-1, 2]}]\n"
X = np.array([[1, 2]], np.float32)


PreTier = tuple[PartVersion, Here, Callable[[], object]]


@asynccontextmanager
async def pre_tier(folder: Path, code: str, waiting: int = 10) -> AsyncIterator[PreTier]:
    """The pre part of the model m on one thread, who asks for it over the hop, and how it is unloaded."""
    pool = Pool(1, waiting)
    async with living(folder) as life:
        life.model("m", pre_py=INPUTS + code)
        offers = Parts("pre").of(life.offers)
        life.manager.apply(offers, offers.keys())
        await life.manager.settle("m")
        served = life.manager.table.find("m", "")
        assert isinstance(served, PartVersion)
        async with there(life.manager.table, pool, "pre") as other, linked(other) as link:
            here = Here(life.manager.table, pool, Known(link), ("pre",))
            yield served, here, partial(life.manager.apply, {}, ["m"])
            await until(lambda: link.requests == 0)
    pool.close()


def modules_of_code() -> set[str]:
    """Of models called m, whoever opened them."""
    return {name for name in sys.modules if name.startswith("m.1.pre.")}


async def test_each_request_gets_what_its_code_makes_or_what_it_raises(tmp_path):
    async with pre_tier(tmp_path, FUSSY) as (served, here, _):
        good, refused, broken = await asyncio.gather(
            here.ask(x=X), here.ask(x=-X), here.ask(x=0 * X), return_exceptions=True
        )
        assert good.outputs["x"].tolist() == [[2, 4]]
        assert isinstance(refused, InvalidRequest)
        assert "x must not be negative" in str(refused)
        assert isinstance(broken, StageFailed)
        assert sum(served.facts.tally.stage_s["pre"].counts) == 1


async def test_who_leaves_takes_the_queued_work_along_and_gives_its_place_back(tmp_path):
    gate = Gate(tmp_path)
    async with pre_tier(tmp_path, gate.code("preprocess"), waiting=3) as (served, here, _):
        asking = [asyncio.create_task(here.ask(x=X)) for _ in range(4)]
        await until(lambda: gate.begun == 1)
        for each in asking[1:]:
            each.cancel()
        await asyncio.gather(*asking[1:], return_exceptions=True)
        await until(lambda: served.facts.tally.of_code.read(1)[1].number == 4)
        another = asyncio.create_task(here.ask(x=X))
        await until(lambda: served.facts.tally.of_code.read(1)[1].number == 5)
        gate.open()
        assert (await asking[0]).outputs["x"].tolist() == X.tolist()
        assert (await another).outputs["x"].tolist() == X.tolist()
        assert gate.begun == 2


async def test_a_full_line_is_refused_and_harms_nobody_in_it(tmp_path):
    gate = Gate(tmp_path)
    async with pre_tier(tmp_path, gate.code("preprocess"), waiting=1) as (served, here, _):
        asking = [asyncio.create_task(here.ask(x=X)) for _ in range(5)]
        await until(lambda: served.facts.tally.refused["requests"] == 3)
        gate.open()
        told = await asyncio.gather(*asking, return_exceptions=True)
        assert sum(isinstance(each, QueueFull) for each in told) == 3
        assert sum(not isinstance(each, Exception) for each in told) == 2


async def test_a_version_that_retires_stays_for_what_is_in_its_code(tmp_path):
    gate = Gate(tmp_path)
    before = modules_of_code()
    async with pre_tier(tmp_path, gate.code("preprocess")) as (served, here, unload):
        its_own = modules_of_code() - before
        assert its_own
        asking = [asyncio.create_task(here.ask(x=X)) for _ in range(2)]
        await until(lambda: served.facts.tally.of_code is not None and gate.begun == 1)
        unload()
        await asyncio.sleep(0.05)
        assert its_own <= modules_of_code()
        gate.open()
        assert [(await each).outputs["x"].tolist() for each in asking] == [X.tolist()] * 2
        await until(lambda: not its_own & modules_of_code())
