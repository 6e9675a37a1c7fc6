"""Versions on probation, over a real manager and real sessions: who stands by, who comes back, who goes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.domain.configuration import ModelConfig
from server.domain.event import What
from server.domain.state import UNLOADED, State
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.lifecycle.standbys import Policy
from tests.lifecycle.life import Life, over
from tests.lifecycle.shelf import plus
from tests.lifecycle.waiting import until

WINDOW = Policy(window_s=30)


@asynccontextmanager
async def living(folder: Path, policy: Policy = WINDOW) -> AsyncIterator[Life]:
    loader = Loader(cpu_budget=1, max_queue_size=100)
    async with Manager(loader, load_threads=2, retire_within_s=5, rollback=policy) as manager:
        yield Life(manager, folder)


def fail(life: Life, model: str = "m", times: int = 50) -> None:
    """As if requests that reached its newest version had failed: what a run does to its tally."""
    tally = life.manager.table.find(model, "").facts.tally
    for _ in range(times):
        tally.failed("BACKEND", 1)


def told(life: Life) -> list[tuple[What, int | None]]:
    return [(event.what, event.version) for event in life.manager.events.latest(1000).events]


async def replaced(life: Life, number: int = 2) -> None:
    """Version 1 has served, and the model's folder offers another number alone."""
    life.model("m", 1)
    await life.apply()
    life.model("m", number)
    await life.apply()


async def test_a_version_that_stands_by_is_out_of_the_table_and_open(tmp_path):
    async with living(tmp_path) as life:
        life.model("m", 1)
        await life.apply()
        before = life.manager.table.find("m", "1")
        life.model("m", 2)
        await life.apply()
        assert life.manager.standbys.stands_by("m") is before
        assert life.state("m", 1) == (State.UNAVAILABLE, UNLOADED)
        assert (What.UNLOADED, 1) not in told(life)


async def test_what_fails_its_probation_is_replaced_by_the_very_version_that_stood_by(tmp_path):
    async with living(tmp_path) as life:
        life.model("m", 1)
        await life.apply()
        before = life.manager.table.find("m", "1")
        life.model("m", 2)
        await life.apply()
        fail(life)
        life.manager.standbys.look()
        assert life.manager.table.find("m", "") is before
        assert life.state("m", 1)[0] is State.READY
        await until(lambda: life.state("m", 2)[0] is State.UNAVAILABLE)
        assert life.state("m", 2)[1].startswith("rolled back: 50 of its 50 requests failed")
        await life.apply()  # nothing has changed on disk
        assert life.manager.ready_versions("m") == [1]


async def test_what_stood_by_serves_on_though_its_folder_is_gone(tmp_path):
    async with living(tmp_path) as life:
        life.model("m", 1)
        await life.apply()
        for file in (tmp_path / "m" / "1").iterdir():
            file.unlink()
        (tmp_path / "m" / "1").rmdir()
        life.model("m", 2)
        await life.apply()
        fail(life)
        life.manager.standbys.look()
        life.model("m", 2)
        await life.apply()
        assert life.manager.ready_versions("m") == [1]
        life.model("m", 2, content=plus(9))
        await life.apply()
        assert life.manager.ready_versions("m") == [2]


async def test_a_version_that_had_to_leave_memory_is_loaded_again_to_come_back(tmp_path):
    async with living(tmp_path) as life:
        await replaced(life)
        life.manager.standbys.evict("m")
        await until(lambda: (What.UNLOADED, 1) in told(life))
        fail(life)
        life.manager.standbys.look()
        assert life.manager.ready_versions("m") == [2]  # until it is there
        await until(lambda: life.manager.ready_versions("m") == [1])


async def test_old_content_of_the_same_number_comes_back(tmp_path):
    async with living(tmp_path) as life:
        life.model("m", 1)
        await life.apply()
        before = life.manager.table.find("m", "1")
        life.model("m", 1, content=plus(5))
        await life.apply()
        assert life.manager.table.find("m", "1") is not before
        fail(life)
        life.manager.standbys.look()
        assert life.manager.table.find("m", "1") is before
        await life.apply()
        assert life.state("m")[1].startswith("serving what it was before: rolled back: ")


async def test_who_has_it_loaded_once_more_insists_on_it(tmp_path):
    async with living(tmp_path) as life:
        await replaced(life)
        fail(life)
        life.manager.standbys.look()
        await life.manager.settled("m")
        assert life.manager.ready_versions("m") == [2]
        fail(life)
        life.manager.standbys.look()
        assert life.manager.ready_versions("m") == [2]


async def test_a_version_that_passes_its_probation_lets_the_other_one_go(tmp_path):
    async with living(tmp_path, Policy(window_s=0.01)) as life:
        await replaced(life)
        await until(lambda: (What.UNLOADED, 1) in told(life))
        assert life.manager.standbys.stands_by("m") is None
        fail(life)
        life.manager.standbys.look()
        assert life.manager.ready_versions("m") == [2]


async def test_a_second_new_version_takes_the_first_ones_place_on_probation(tmp_path):
    async with living(tmp_path) as life:
        await replaced(life)
        life.model("m", 3)
        await life.apply()
        await until(lambda: (What.UNLOADED, 1) in told(life))
        fail(life)
        life.manager.standbys.look()
        assert life.manager.ready_versions("m") == [2]


async def test_an_unload_on_purpose_lets_what_stands_by_go_too(tmp_path):
    async with living(tmp_path) as life:
        await replaced(life)
        await life.apply("m")
        await until(lambda: {(What.UNLOADED, 1), (What.UNLOADED, 2)} <= set(told(life)))
        assert life.manager.standbys.stands_by("m") is None


@pytest.mark.parametrize(
    ("policy", "said"),
    [(Policy(), ""), (Policy(window_s=30, is_on=False), ""), (WINDOW, "false")],
)
async def test_where_it_is_not_wanted_nothing_stands_by(tmp_path, policy, said):
    config = ModelConfig(name="m", parameters={"tercet.rollback": said} if said else {})
    async with living(tmp_path, policy) as life:
        for version in (1, 2):
            life.model("m", version, config=config)
            await life.apply()
        await until(lambda: (What.UNLOADED, 1) in told(life))
        fail(life)
        life.manager.standbys.look()
        assert life.manager.ready_versions("m") == [2]


async def test_versions_that_come_together_are_not_new_to_each_other(tmp_path):
    async with living(tmp_path) as life:
        life.model("m", 1, 2)
        await life.apply()
        fail(life)
        life.manager.standbys.look()
        assert life.manager.ready_versions("m") == [1, 2]


async def test_what_was_loaded_anew_in_the_meantime_serves_and_not_a_second_one(tmp_path):
    async with living(tmp_path) as life:
        await replaced(life)
        life.model("m", 1, 2)
        await life.apply()
        anew = life.manager.table.find("m", "1")
        fail(life)
        life.manager.standbys.look()
        assert life.manager.table.find("m", "") is anew
        await until(lambda: (What.UNLOADED, 1) in told(life))


async def test_an_ensemble_is_not_taken_back_but_finds_the_member_that_is(tmp_path):
    async with living(tmp_path) as life:
        life.model("m", 1)
        life.ensemble("chain", over("m"))
        await life.apply()
        life.model("m", 2)
        await life.apply()
        fail(life)
        life.manager.standbys.look()
        await life.apply()
        assert life.manager.ready_versions("m") == [1]
        assert life.state("chain")[0] is State.READY
