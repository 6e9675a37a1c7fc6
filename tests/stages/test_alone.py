"""A pre or a post tier that a client asks by itself, in the test's own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from server.domain.errors import (
    DeadlineExceeded,
    InvalidRequest,
    QueueFull,
    StageFailed,
    TierUnavailable,
)
from server.domain.request import InferRequest, InferResponse
from server.domain.stage import Span, StageName
from server.domain.tensors import Tensors
from server.lifecycle.parts import Parts
from server.observe.tally import Tally
from server.stages.pool import Pool
from server.stages.route import Route
from tests.lifecycle.life import living
from tests.lifecycle.waiting import until
from tests.stages.gate import Gate

DECLARED = """
INPUTS = [{"name": "a", "datatype": "FP32", "shape": [-1, 1]}]
def preprocess(inputs): return {"x": inputs["a"] + 1, "rest": inputs["a"]}
"""
HALF = """
OUTPUTS = [{"name": name, "datatype": "FP32", "shape": [-1]} for name in ("whole", "half")]
def postprocess(outputs): return {"half": outputs["y"] / 2}
"""


class Part:
    """One stage of the model m, and the route to it."""

    def __init__(self, route: Route, tally: Tally) -> None:
        self._route = route
        self.tally = tally

    async def do(self, stage: StageName, tensors: dict[str, np.ndarray]) -> tuple[Tensors, Span]:
        return await self._route.do(self._route.find("m", ""), stage, InferRequest("m", "", {}), tensors)

    async def ask(self, within_s: float | None = None, **facts) -> InferResponse:
        now = monotonic()
        deadline = {} if within_s is None else {"deadline": now + within_s}
        request = InferRequest("m", "", **facts, **deadline, arrived=now)
        return await self._route.infer(self._route.find("m", ""), request)


@asynccontextmanager
async def part(folder: Path, stage: str, *, places: int = 10, **code: str) -> AsyncIterator[Part]:
    pool = Pool(1, places)
    async with living(folder, retire_within_s=0.1) as life:
        life.model("m", **code)
        offers = Parts(stage).of(life.offers)
        life.manager.apply(offers, offers.keys())
        await life.manager.settle("m")
        yield Part(Route(life.manager.table, pool), life.manager.facts("m").tally)
    pool.close()


def numbers(*values: float) -> np.ndarray:
    return np.array([[value] for value in values], np.float32)


async def test_it_gives_what_its_code_makes_in_the_order_asked_for(tmp_path):
    async with part(tmp_path, "pre", pre_py=DECLARED) as pre:
        answer = await pre.ask(inputs={"a": numbers(1, 2)}, id="mine")
        assert {name: array.tolist() for name, array in answer.outputs.items()} == {
            "x": [[2], [3]],
            "rest": [[1], [2]],
        }
        assert (answer.id, answer.version) == ("mine", "1")
        picked = await pre.ask(inputs={"a": numbers(1)}, outputs=("rest", "x"))
        assert list(picked.outputs) == ["rest", "x"]


async def test_it_holds_requests_against_what_its_code_declares(tmp_path):
    async with part(tmp_path, "pre", pre_py=DECLARED) as pre:
        with pytest.raises(
            InvalidRequest, match="unexpected inference input 'b' for model 'm'; it takes 'a'"
        ):
            await pre.ask(inputs={"b": numbers(1)})


async def test_a_stage_that_is_another_tiers_is_not_done(tmp_path):
    async with part(tmp_path, "pre", pre_py=DECLARED) as pre:
        with pytest.raises(TierUnavailable, match="the predict tier cannot answer for model 'm'") as refused:
            await pre.do("predict", {"x": numbers(1)})
        assert refused.value.untouched
        done, span = await pre.do("pre", {"a": numbers(1)})
        assert done["x"].tolist() == [[2]]
        assert (span.stage, span.rows) == ("pre", 0)
        assert span.compute_ns > 0 <= span.queue_ns


async def test_code_that_lacks_an_output_that_it_declares_is_at_fault(tmp_path):
    async with part(tmp_path, "post", post_py=HALF) as post:
        with pytest.raises(StageFailed, match="the post stage of model 'm' version 1 failed"):
            await post.ask(inputs={"y": numbers(4)})
        half = await post.ask(inputs={"y": numbers(4)}, outputs=("half",))
        assert half.outputs["half"].tolist() == [[2]]
        with pytest.raises(InvalidRequest, match="unexpected inference output 'y'"):
            await post.ask(inputs={"y": numbers(4)}, outputs=("y",))


async def test_its_requests_are_counted_and_so_are_those_that_fail(tmp_path):
    async with part(tmp_path, "post", post_py=HALF) as post:
        await post.ask(inputs={"y": numbers(4)}, outputs=("half",))
        with pytest.raises(StageFailed):
            await post.ask(inputs={"y": numbers(4)})
        assert (post.tally.success.count, post.tally.fail.count) == (1, 1)
        assert sum(post.tally.stage_s["post"].counts) == 2
        assert post.tally.of_code is not None
        assert post.tally.of_code.read(1)[1].number == 2


async def test_a_deadline_and_a_full_line_hold_here_too(tmp_path):
    gate = Gate(tmp_path)
    async with part(tmp_path / "m", "pre", places=1, pre_py=gate.code("preprocess")) as pre:
        working = [asyncio.create_task(pre.ask(inputs={"x": numbers(1)})) for _ in range(2)]
        await until(lambda: gate.begun == 1)
        with pytest.raises(QueueFull, match="model 'm' already has 2 requests waiting"):
            await pre.ask(inputs={"x": numbers(1)})
        working.pop().cancel()
        await until(lambda: pre.tally.failures["CANCELED"] == 1)
        with pytest.raises(DeadlineExceeded):
            await pre.ask(inputs={"x": numbers(1)}, within_s=0.01)
        assert pre.tally.pressure.read(0) > 0  # somebody was refused
        gate.open()
        assert (await working[0]).outputs["x"].tolist() == [[1]]
        assert gate.begun == 1
