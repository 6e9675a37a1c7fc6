"""The way of one request through the steps of an ensemble: real models, real code, real threads."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from server.domain.configuration import DynamicBatching, InstanceGroup, InstanceKind, ModelConfig
from server.domain.errors import DeadlineExceeded, InvalidRequest, ModelNotReady, QueueFull, StageFailed
from server.domain.request import InferRequest, InferResponse
from server.domain.state import State
from server.observe.tally import Tally
from server.stages.pool import Pool
from server.stages.route import Route
from tests.e2e.ensembles import (
    ALONE,
    DIAMOND,
    OVER,
    PAIR_IN,
    PAIR_OUT,
    ensemble,
    plus_both,
    step,
    tensors,
    whole,
)
from tests.e2e.workshop import slow, times
from tests.lifecycle.life import Life, living, over, over_ensemble
from tests.lifecycle.shelf import plus
from tests.lifecycle.waiting import until
from tests.stages import seen
from tests.stages.gate import Gate

ONES = np.ones((1, 2), np.float32)

SEEING = """
from tests.stages import seen

def {function}(arrays):
    seen.arrays.extend(arrays.items())
    return arrays
"""

CURIOUS = """
from tests.stages import seen

def preprocess(inputs, request):
    seen.arrays.append((request.id, (dict(request.parameters), request.priority)))
    return inputs
"""

PICKY = """
def preprocess(inputs):
    if (inputs["x"] < 0).any():
        raise ValueError("x must not be below 0")
    if (inputs["x"] > 99).any():
        raise LookupError("a secret of the code")
    return inputs
"""

ONE_BY_ONE = ModelConfig(
    name="slow",
    max_batch_size=1,
    dynamic_batching=DynamicBatching(),
    instance_groups=(InstanceGroup(kind=InstanceKind.CPU, count=1),),
)


class Stages:
    """Models and ensembles, and the route to them."""

    def __init__(self, life: Life, pool: Pool) -> None:
        self.life = life
        self.route = Route(life.manager.table, pool)

    def tally(self, model: str) -> Tally:
        return self.life.manager.facts(model).tally

    async def ask(
        self, model: str, x: np.ndarray = ONES, *, within_s: float | None = None, **facts
    ) -> InferResponse:
        now = monotonic()
        deadline = {} if within_s is None else {"deadline": now + within_s}
        request = InferRequest(model, "", {"X": x}, **facts, **deadline, arrived=now)
        return await self.route.infer(self.route.find(model, ""), request)

    async def y(self, model: str, x: np.ndarray = ONES, **facts) -> list[list[float]]:
        return (await asyncio.wait_for(self.ask(model, x, **facts), 10)).outputs["Y"].tolist()


@asynccontextmanager
async def staged(folder: Path, *, threads: int = 4, waiting: int = 10, **bounds) -> AsyncIterator[Stages]:
    pool = Pool(threads, waiting)
    async with living(folder, **bounds) as life:
        yield Stages(life, pool)
    pool.close()


@pytest.fixture
async def stages(tmp_path: Path) -> AsyncIterator[Stages]:
    async with staged(tmp_path) as stages:
        yield stages


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.open()  # so that a test that fails does not leave a thread behind


@pytest.fixture
def life(stages: Stages) -> Life:
    return stages.life


def furnish_diamond(life: Life, **code_of_double: str) -> None:
    """Y = 2 x + 3 x."""
    life.model("double", content=times(2, 2), **code_of_double)
    life.model("triple", content=times(3, 2))
    life.model("sum", content=plus_both())
    for name, config in (("diamond", DIAMOND), ("over", OVER)):
        life.ensemble(name, config.replace("max_batch_size: 8", "max_batch_size: 4"))


def furnish_slow(life: Life, config: ModelConfig) -> None:
    """The ensemble e: `slow`, which takes X rounds of time, and m behind it."""
    life.model("slow", content=slow(), config=config)
    life.model("m", content=times(1, 1))
    steps = step("slow", {"rounds": "X"}, {"y": "long"}), step("m", {"x": "long"}, {"y": "Y"})
    outside = {"inputs": tensors("input", X="INT64 1"), "outputs": tensors("output", Y="FP32 1")}
    life.ensemble("e", ensemble(*steps, rows=1, **outside))


# The flow


async def test_a_chain_hands_on_what_each_step_gives(stages: Stages, life: Life):
    life.model("m", 1)
    life.model("n", 10)
    life.ensemble("e", over("m", "n", "m"))
    await life.apply()
    assert await stages.y("e") == [[13.0, 13.0]]


async def test_steps_that_need_nothing_of_each_other_run_at_the_same_time(
    stages: Stages, life: Life, gate: Gate
):
    furnish_diamond(life, pre_py=gate.code("preprocess"))
    life.model("triple", content=times(3, 2), pre_py=gate.code("preprocess"))
    await life.apply()
    asked = asyncio.create_task(stages.y("diamond"))
    await until(lambda: gate.begun == 2)
    gate.open()
    assert await asked == [[5.0, 5.0]]


async def test_an_ensemble_may_be_a_step_of_another(stages: Stages, life: Life):
    furnish_diamond(life)
    await life.apply()
    assert await stages.y("over", np.array([[1, 2], [3, 4]], np.float32)) == [[10, 20], [30, 40]]


async def test_only_the_steps_that_the_wanted_outputs_need_are_run(stages: Stages, life: Life):
    furnish_diamond(life)
    await life.apply()
    answer = await stages.ask("diamond", outputs=("left",))
    assert {name: array.tolist() for name, array in answer.outputs.items()} == {"left": [[2.0, 2.0]]}
    assert stages.tally("double").execution_count == 1
    assert stages.tally("triple").execution_count == stages.tally("sum").execution_count == 0


async def test_an_output_that_the_ensemble_does_not_have_is_refused(stages: Stages, life: Life):
    furnish_diamond(life)
    await life.apply()
    with pytest.raises(InvalidRequest, match="unexpected inference output 'right' for model 'diamond'"):
        await stages.ask("diamond", outputs=("right",))


async def test_steps_of_different_requests_run_together(stages: Stages, life: Life):
    config = ModelConfig(
        name="m",
        max_batch_size=4,
        dynamic_batching=DynamicBatching(preferred_batch_size=(4,), max_queue_delay_microseconds=10_000_000),
    )
    life.model("m", config=config)
    life.ensemble("e", over("m", "m"))
    await life.apply()
    await asyncio.wait_for(asyncio.gather(*(stages.ask("e") for _ in range(4))), 10)
    assert (stages.tally("m").inference_count, stages.tally("m").execution_count) == (8, 2)


async def test_arrays_go_from_step_to_step_as_they_are(stages: Stages, life: Life):
    seen.arrays.clear()
    life.model("m", post_py=SEEING.format(function="postprocess"))
    life.model("n", pre_py=SEEING.format(function="preprocess"))
    life.ensemble("e", over("m", "n"))
    await life.apply()
    await stages.ask("e", np.ones((4, 2), np.float32))
    (_, given), (_, taken) = seen.arrays
    assert np.shares_memory(given, taken)


async def test_a_model_with_a_batch_dimension_is_given_one_row_of_what_has_none(stages: Stages, life: Life):
    life.model("whole", content=whole())
    life.model("double", content=times(2, 2))
    life.ensemble("alone", ALONE)
    await life.apply()
    assert await stages.y("alone", np.array([1, 2], np.float32)) == [2, 4]


async def test_a_model_without_a_batch_dimension_takes_one_row_and_refuses_more(stages: Stages, life: Life):
    life.model("double", content=times(2, 2))
    life.model("whole", content=whole())
    steps = step("double", {"x": "X"}, {"y": "twice"}), step("whole", {"x": "twice"}, {"same": "Y"})
    life.ensemble("e", ensemble(*steps, rows=4, inputs=PAIR_IN, outputs=PAIR_OUT))
    await life.apply()
    assert await stages.y("e") == [[2, 2]]
    with pytest.raises(InvalidRequest, match=r"in ensemble 'e', unexpected shape .* for model 'whole'"):
        await stages.ask("e", np.ones((2, 2), np.float32))


# What a request brings along


async def test_id_parameters_and_priority_reach_every_step(stages: Stages, life: Life):
    seen.arrays.clear()
    life.model("m", pre_py=CURIOUS)
    life.ensemble("e", over("m", "m"))
    life.ensemble("f", over_ensemble("e"))
    await life.apply()
    await stages.ask("f", id="7", parameters={"unit": "cm"}, priority=2)
    assert seen.arrays == [("7", ({"unit": "cm"}, 2))] * 2


async def test_a_deadline_ends_the_request_wherever_it_is_and_no_later_step_begins(
    stages: Stages, life: Life, gate: Gate
):
    life.model("m", pre_py=gate.code("preprocess"))
    life.model("n")
    life.ensemble("e", over("m", "n"))
    await life.apply()
    with pytest.raises(DeadlineExceeded, match="Request timeout expired for model 'e'"):
        await stages.ask("e", within_s=0.05)
    gate.open()
    assert stages.tally("n").execution_count == 0
    assert stages.tally("e").failures["REJECTED"] == 1


async def test_a_caller_who_leaves_takes_the_queued_work_of_the_step_along(stages: Stages, life: Life):
    furnish_slow(life, ONE_BY_ONE)
    await life.apply()
    tally = stages.tally("slow")
    first, second = (asyncio.create_task(stages.ask("e", np.array([[2000]]))) for _ in range(2))
    await until(lambda: tally.pending == 1)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert tally.pending == 0
    await first
    assert tally.execution_count == stages.tally("m").execution_count == 1
    assert stages.tally("e").failures["CANCELED"] == 1


async def test_a_caller_who_leaves_stops_steps_that_run_side_by_side(stages: Stages, life: Life, gate: Gate):
    furnish_diamond(life, pre_py=gate.code("preprocess"))
    life.model("triple", content=times(3, 2), pre_py=gate.code("preprocess"))
    await life.apply()
    asked = asyncio.create_task(stages.ask("diamond"))
    await until(lambda: gate.begun == 2)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    gate.open()
    assert stages.tally("sum").execution_count == stages.tally("double").execution_count == 0
    assert await stages.y("diamond") == [[5.0, 5.0]]


# What goes wrong


async def test_a_step_that_refuses_says_so_in_the_name_of_the_ensemble(stages: Stages, life: Life):
    life.model("m", pre_py=PICKY)
    life.ensemble("e", over("m"))
    life.ensemble("f", over_ensemble("e"))
    await life.apply()
    with pytest.raises(InvalidRequest) as refused:
        await stages.ask("e", -ONES)
    assert str(refused.value) == "in ensemble 'e', model 'm': x must not be below 0"
    with pytest.raises(StageFailed, match=r"^in ensemble 'e', the pre stage of model 'm' version 1 failed"):
        await stages.ask("e", 100 * ONES)
    with pytest.raises(InvalidRequest, match=r"^in ensemble 'f', in ensemble 'e', model 'm': x must not"):
        await stages.ask("f", -ONES)
    assert stages.tally("e").failures["BACKEND"] == 1
    assert stages.tally("e").success.count == 0


async def test_a_step_that_fails_ends_the_request_without_the_others(stages: Stages, life: Life, gate: Gate):
    furnish_diamond(life, pre_py=PICKY)
    life.model("triple", content=times(3, 2), pre_py=gate.code("preprocess"))
    await life.apply()
    with pytest.raises(InvalidRequest, match="in ensemble 'diamond', model 'double'"):
        await asyncio.wait_for(stages.ask("diamond", -ONES), 10)
    gate.open()
    assert await stages.y("diamond") == [[5.0, 5.0]]


async def test_a_member_that_has_gone_is_named(stages: Stages, life: Life):
    life.model("m")
    life.ensemble("e", over("m"))
    await life.apply()
    found = stages.route.find("e", "")
    await life.apply("m")
    with pytest.raises(ModelNotReady, match="ensemble 'e' depends on 'm', which has no loaded version"):
        await stages.route.infer(found, InferRequest("e", "", {"X": ONES}))


# Bounds


def one_at_a_time(*members: str) -> str:
    return over(*members).replace("\n}\n", "\nmax_inflight_requests: 1 }\n")


async def test_at_each_step_are_as_many_requests_as_the_configuration_says_in_their_order(
    stages: Stages, life: Life, gate: Gate
):
    seen.arrays.clear()
    life.model("m", pre_py=SEEING.format(function="preprocess"))
    life.model("n", pre_py=gate.code("preprocess"))
    life.ensemble("e", one_at_a_time("m", "n"))
    await life.apply()
    asked = [asyncio.create_task(stages.y("e", (1 + at) * ONES)) for at in range(4)]
    await until(lambda: gate.begun == 1 and len(seen.arrays) == 4)
    asked[1].cancel()
    with pytest.raises(DeadlineExceeded):
        await stages.ask("e", within_s=0.05)
    assert gate.begun == 1
    gate.open()
    assert [await asked[at] for at in (0, 2, 3)] == [[[3 + at, 3 + at]] for at in (0, 2, 3)]
    assert gate.begun == 3
    assert [x[0, 0] for _, x in seen.arrays[:4]] == [1, 2, 3, 4]


async def test_turns_come_round_where_ensembles_with_one_turn_stand_on_each_other(stages: Stages, life: Life):
    life.model("m")
    life.ensemble("inner", one_at_a_time("m", "m"))
    for name in ("left", "right"):
        life.ensemble(
            name,
            one_at_a_time("inner", "inner").replace('key: "x"', 'key: "X"').replace('key: "y"', 'key: "Y"'),
        )
    await life.apply()
    asked = (stages.y(model) for model in ["left", "right", "inner"] * 10)
    came = await asyncio.wait_for(asyncio.gather(*asked), 30)
    assert came == [[[5.0, 5.0]], [[5.0, 5.0]], [[3.0, 3.0]]] * 10


async def test_an_ensemble_with_as_many_requests_as_may_be_refuses_more(tmp_path: Path, gate: Gate):
    async with staged(tmp_path, max_queue_size=2) as stages:
        life = stages.life
        life.model("m", pre_py=gate.code("preprocess"))
        life.ensemble("e", over("m"))
        await life.apply()
        asked = [asyncio.create_task(stages.y("e")) for _ in range(2)]
        await until(lambda: gate.begun == 2)
        with pytest.raises(QueueFull, match="model 'e' already has 2 requests") as refused:
            await stages.ask("e")
        assert refused.value.retry_after_s > 0
        assert stages.tally("e").failures["REJECTED"] == 1
        gate.open()
        assert await asyncio.gather(*asked) == [[[2.0, 2.0]]] * 2
        assert await stages.y("e") == [[2.0, 2.0]]


async def test_a_refusal_of_a_member_keeps_its_hint_when_to_come_back(tmp_path: Path, gate: Gate):
    async with staged(tmp_path, threads=1, waiting=0) as stages:
        life = stages.life
        life.model("m", pre_py=gate.code("preprocess"))
        life.ensemble("e", over("m"))
        await life.apply()
        first = asyncio.create_task(stages.y("e"))
        await until(lambda: gate.begun == 1)
        with pytest.raises(
            QueueFull, match=r"^in ensemble 'e', Exceeds maximum queue size: model 'm'"
        ) as full:
            await stages.ask("e")
        assert full.value.retry_after_s == 1.0
        gate.open()
        await first


async def test_where_all_places_are_one_nested_ensembles_never_wait_for_each_other(tmp_path: Path):
    """Every queue, pool and ensemble has room for one or two: requests are refused, and none hangs."""
    async with staged(tmp_path, threads=1, waiting=1, max_queue_size=1) as stages:
        life = stages.life
        furnish_diamond(life, pre_py=SEEING.format(function="preprocess"))
        life.ensemble("outer", over_ensemble("over", "diamond", "over"))
        await life.apply()
        models = ["outer", "over", "diamond"] * 10
        asked = (stages.ask(model) for model in models)
        came = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30)
        answered = [each for each in came if isinstance(each, InferResponse)]
        assert {type(each) for each in came} <= {InferResponse, QueueFull}
        assert answered
        for model, right in (("outer", 500.0), ("over", 10.0), ("diamond", 5.0)):
            assert await stages.y(model) == [[right, right]], "every place was given back"


# Versions that come and go


async def test_a_request_in_flight_keeps_the_versions_that_it_found(stages: Stages, life: Life, gate: Gate):
    life.model("m", pre_py=gate.code("preprocess"))
    life.model("n", content=plus(10))
    life.ensemble("e", over("m", "n"))
    life.ensemble("f", over_ensemble("e"))
    await life.apply()
    asked = asyncio.create_task(stages.y("f"))
    await until(lambda: gate.begun == 1)
    life.model("n", content=plus(20))
    await life.apply()
    gate.open()
    assert await asked == [[12.0, 12.0]]
    assert await stages.y("f") == [[22.0, 22.0]]


async def test_members_that_are_unloaded_wait_for_the_requests_of_their_ensembles(
    stages: Stages, life: Life, gate: Gate
):
    life.model("m", pre_py=gate.code("preprocess"))
    life.model("n", content=plus(10))
    life.ensemble("e", over("m", "n"))
    await life.apply()
    asked = asyncio.create_task(stages.y("e"))
    await until(lambda: gate.begun == 1)
    life.manager.apply(dict(life.offers), ())
    await until(lambda: life.state("n")[0] is State.UNLOADING)
    gate.open()
    assert await asked == [[12.0, 12.0]]
    await until(lambda: all(life.state(each)[0] is State.UNAVAILABLE for each in "mne"))


async def test_at_the_end_of_the_server_ensembles_are_answered_before_their_members_go(
    tmp_path: Path, gate: Gate
):
    async with staged(tmp_path) as stages:
        life = stages.life
        life.model("m", pre_py=gate.code("preprocess"))
        life.model("a", content=plus(10))
        life.ensemble("z", over("m", "a"))
        await life.apply()
        asked = asyncio.create_task(stages.y("z"))
        await until(lambda: gate.begun == 1)
        asyncio.get_running_loop().call_later(0.05, gate.open)
    assert await asked == [[12.0, 12.0]]


# What is counted


async def test_an_ensemble_counts_its_requests_and_its_members_count_theirs(stages: Stages, life: Life):
    furnish_diamond(life)
    await life.apply()
    answer = await stages.ask("over", np.ones((3, 2), np.float32))
    for model, times_run in (("over", 1), ("diamond", 1), ("double", 2), ("triple", 1), ("sum", 1)):
        tally = stages.tally(model)
        assert (tally.inference_count, tally.execution_count) == (3 * times_run, times_run), model
        assert tally.success.count == tally.queue.count == tally.compute_infer.count == times_run
        assert tally.last_inference > 0
    tally = stages.tally("over")
    parts = [stages.tally(model) for model in ("double", "triple", "sum")]
    assert tally.compute_infer.ns == sum(part.compute_infer.ns for part in parts) == answer.compute_ns
    assert tally.queue.ns == sum(part.queue.ns for part in parts) == answer.queue_ns
    assert tally.batches.keys() == {3}
    assert answer.batch_rows == 3
    assert tally.stage_s.keys() == {"diamond", "double"}
    assert sum(tally.stage_s["diamond"].counts) == 1
