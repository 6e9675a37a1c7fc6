"""An ensemble answers its golden examples, over real members and by the way of requests, before it serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.domain.state import State
from server.lifecycle.examination import Examination
from server.lifecycle.table import Table
from server.stages.pool import Pool
from server.stages.route import Route
from tests.lifecycle.life import Life, living, over, over_ensemble
from tests.lifecycle.waiting import until

READY = State.READY, ""


@asynccontextmanager
async def examining(
    folder: Path, within_s: float = 10.0, retire_within_s: float = 10.0
) -> AsyncIterator[Life]:
    pool, table = Pool(4, 10), Table()
    examination = Examination(Route(table, pool).infer, within_s)
    try:
        async with living(
            folder, retire_within_s=retire_within_s, table=table, examination=examination
        ) as life:
            yield life
    finally:
        pool.close()


@pytest.fixture
async def life(tmp_path: Path) -> AsyncIterator[Life]:
    async with examining(tmp_path) as life:
        yield life


def example(x: float, y: float, **changed: Any) -> dict[str, Any]:
    """For X = [x, x] the answer Y = [y, y]."""
    tensors = [
        {"name": name, "shape": [1, 2], "datatype": "FP32", "data": [value, value]}
        for name, value in (("X", x), ("Y", y))
    ]
    return {"request": {"inputs": tensors[:1]}, "response": {"outputs": tensors[1:]}, **changed}


async def test_what_it_answers_is_held_against_every_example(life: Life):
    life.model("m", 1)
    life.model("n", 2)
    life.ensemble("good", over("m", "n"), one=example(1, 4), two=example(5, 8))
    life.ensemble("bad", over("m", "n"), one=example(1, 4), two=example(5, 9))
    await life.apply()
    assert life.state("good") == READY
    assert life.state("bad") == (
        State.UNAVAILABLE,
        "golden example 'two': output 'Y' is 8 at [0, 0] where 9 was expected (tolerance 0.0001)",
    )


async def test_a_tolerance_is_kept(life: Life):
    life.model("m")
    life.ensemble("near", over("m"), one=example(1, 2.05, tolerance=0.1))
    life.ensemble("far", over("m"), one=example(1, 2.05, tolerance=0.01))
    await life.apply()
    assert life.state("near") == READY
    assert life.state("far")[0] is State.UNAVAILABLE


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            {"response": {"outputs": [{"name": "Z", "shape": [1], "datatype": "FP32", "data": [1]}]}},
            "golden example 'one': output 'Z' is not among the outputs",
        ),
        (
            {"response": {"outputs": [{"name": "Y", "shape": [2], "datatype": "FP32", "data": [2, 2]}]}},
            "golden example 'one': output 'Y' has shape [1, 2] where [2] was expected",
        ),
        (
            {"request": {"inputs": [{"name": "W", "shape": [1], "datatype": "FP32", "data": [1]}]}},
            "golden example 'one' is not answered: ",
        ),
    ],
    ids=["output", "shape", "input"],
)
async def test_an_example_of_other_tensors_says_which(life: Life, changed: dict[str, Any], why: str):
    life.model("m")
    life.ensemble("e", over("m"), one=example(1, 2) | changed)
    await life.apply()
    state, reason = life.state("e")
    assert state is State.UNAVAILABLE
    assert reason.startswith(why)
    assert not reason.endswith("; it is tried again by itself")


async def test_it_counts_nothing_itself_and_its_members_count_what_they_were_asked(life: Life):
    life.model("m")
    life.ensemble("e", over("m"), one=example(1, 2))
    await life.apply()
    assert life.manager.facts("e").tally.success.count == 0
    assert life.manager.facts("e").tally.execution_count == 0
    assert life.manager.facts("m").tally.execution_count == 1


async def test_what_served_before_serves_on(life: Life):
    life.model("m")
    life.ensemble("e", over("m"), one=example(1, 2))
    await life.apply()
    before = life.manager.table.find("e", "")
    life.ensemble("e", over("m"), one=example(1, 3))
    await life.apply()
    assert life.manager.table.find("e", "") is before


async def test_another_version_of_a_member_may_be_what_it_needed(life: Life):
    life.model("m", 1)
    life.ensemble("e", over("m"), one=example(1, 3))
    await life.apply()
    assert life.state("e")[0] is State.UNAVAILABLE
    life.model("m", 2)
    await life.apply()
    assert life.state("e") == READY


async def test_an_ensemble_over_one_that_fails_its_example_says_what_it_lacks(life: Life):
    life.model("m")
    life.ensemble("e", over("m"), one=example(1, 3))
    life.ensemble("f", over_ensemble("e"), one=example(1, 2))
    await life.apply()
    assert life.state("f") == (
        State.UNAVAILABLE,
        "ensemble 'f' depends on 'e', which has no loaded version",
    )
    life.ensemble("e", over("m"), one=example(1, 2))
    await life.apply()
    assert [life.state(each) for each in "ef"] == [READY] * 2


HELD = """
from pathlib import Path
from time import sleep

def preprocess(inputs):
    Path({asked!r}).touch()
    while not Path({opened!r}).exists():
        sleep(0.01)
    return inputs
"""


async def test_an_example_that_takes_too_long_is_tried_again_and_other_models_come_meanwhile(
    tmp_path: Path,
):
    asked, opened = tmp_path / "asked", tmp_path / "opened"
    async with examining(tmp_path / "models", within_s=0.3) as life:
        life.model("m", pre_py=HELD.format(asked=str(asked), opened=str(opened)))
        life.ensemble("e", over("m"), one=example(1, 2))
        life.model("other")
        life.manager.apply(dict(life.offers), life.offers)
        await until(asked.exists)
        await until(lambda: life.state("other") == READY)
        await until(lambda: life.state("e")[0] is State.UNAVAILABLE)
        assert life.state("e")[1].startswith("golden example 'one' is not answered: ")
        assert life.state("e")[1].endswith("; it is tried again by itself")
        opened.touch()
        await until(lambda: life.state("e") == READY)


async def test_the_server_goes_without_the_answer(tmp_path: Path):
    asked, opened = tmp_path / "asked", tmp_path / "opened"
    began = asyncio.get_running_loop().time()
    try:
        async with examining(tmp_path / "models", within_s=60, retire_within_s=0.5) as life:
            life.model("m", pre_py=HELD.format(asked=str(asked), opened=str(opened)))
            life.ensemble("e", over("m"), one=example(1, 2))
            life.manager.apply(dict(life.offers), life.offers)
            await until(asked.exists)
    finally:
        opened.touch()
    assert asyncio.get_running_loop().time() - began < 20
