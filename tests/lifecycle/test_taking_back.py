"""Versions on probation where memory is short: they leave it, and come back, as any other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.domain.configuration import SwapPolicy
from server.domain.event import What
from server.domain.state import State
from server.lifecycle.idle import IdleVersion
from server.lifecycle.standbys import Policy
from server.lifecycle.version import ServedVersion
from tests.lifecycle.serving import Serving, counted, in_use, needs, serving
from tests.lifecycle.shelf import Shelf, plus
from tests.lifecycle.waiting import until


@asynccontextmanager
async def trying(
    folder: Path, models: float, window_s: float = 30, **rules: object
) -> AsyncIterator[Serving]:
    async with serving(folder, models, rollback=Policy(window_s=window_s), **rules) as now:
        yield now


def fail(now: Serving, model: str = "a") -> None:
    """As if requests that reached its newest version had failed, and somebody looked."""
    tally = now.manager.facts(model).tally
    for _ in range(50):
        tally.failed("BACKEND", 1)
    now.manager.standbys.look()


async def succeed(now: Serving, first: int, then: int, policy: SwapPolicy = SwapPolicy.AUTO) -> None:
    """Version `first` of a has served, and version `then` takes its place."""
    shelf, parameters = Shelf(now.folder / "a"), {"swap_policy": policy.value}
    await now.offer("a", shelf.put(first), parameters=parameters)
    await now.ask("a")
    await now.offer("a", shelf.put(then), parameters=parameters)
    await until(lambda: list(now.manager.table.versions("a")) == [then])
    await now.manager.residence.brought("a", then)


def told(now: Serving, version: int) -> list[What]:
    events = now.manager.events.latest(1000, "a").events
    return [event.what for event in events if event.version == version]


async def test_what_stands_by_is_counted_and_leaves_before_what_serves(tmp_path):
    async with trying(tmp_path, models=2.5) as now:
        await succeed(now, 1, 2)
        assert now.manager.standbys.stands_by("a") is not None
        assert counted(now) == 2 * needs(tmp_path)
        await now.offer("b")
        assert now.loaded() == {"a", "b"}
        assert now.manager.standbys.stands_by("a") is None
        await until(lambda: counted(now) == 2 * needs(tmp_path))
        assert now.manager.residence.tally.evictions == {("a", "1", "memory"): 1}
        assert told(now, 1)[-2:] == [What.UNLOADING, What.UNLOADED]
        (gone,) = [
            event
            for event in now.manager.events.latest(1000, "a").events
            if event.what is What.UNLOADED and event.version == 1
        ]
        assert gone.reason == "it stood by, and its memory was needed"


@pytest.mark.parametrize("on_request", [True, False])
@pytest.mark.parametrize("policy", [SwapPolicy.AUTO, SwapPolicy.FREE_FIRST])
async def test_with_memory_for_one_a_swap_works_and_taking_it_back_loads_the_old_one(
    tmp_path, policy, on_request
):
    async with trying(tmp_path, models=1.5, on_request=on_request, lazy_start=False) as now:
        await succeed(now, 1, 2, policy)
        assert await now.ask("a") == 2.0
        fail(now)
        await until(lambda: list(now.manager.table.versions("a")) == [1])
        assert await now.ask("a") == 1.0
        assert isinstance(now.at("a", 1), ServedVersion)
        await until(lambda: counted(now) == needs(tmp_path))
        await until(lambda: now.state("a", 2)[0] is State.UNAVAILABLE)
        assert now.state("a", 2)[1].startswith("rolled back: ")
        assert now.state("a", 1)[1].startswith("serving again: version 2 was rolled back")
        assert told(now, 1).count(What.BROUGHT_BACK) == 1
        assert told(now, 2).count(What.ROLLED_BACK) == 1


async def test_a_lazy_successor_is_on_probation_once_it_is_in_memory(tmp_path):
    async with trying(tmp_path, models=1.5, window_s=0.3) as now:
        shelf = Shelf(tmp_path / "a")
        await now.offer("a", shelf.put(1))
        with in_use(now, "a"):  # its memory is not to be had yet
            await now.offer("a", shelf.put(2), parameters={"swap_policy": "free-first"})
            assert isinstance(now.at("a", 2), IdleVersion)
            now.manager.standbys.look()
        assert await now.ask("a") == 2.0
        fail(now)
        await until(lambda: list(now.manager.table.versions("a")) == [1])
        assert await now.ask("a") == 1.0


async def test_to_be_evicted_and_brought_back_does_not_end_a_probation(tmp_path):
    async with trying(tmp_path, models=2.5) as now:
        await succeed(now, 1, 2)
        now.manager.residence.evict(("a", 2))
        assert await now.ask("a") == 2.0
        assert now.manager.standbys.stands_by("a") is not None
        fail(now)
        assert list(now.manager.table.versions("a")) == [1]
        assert await now.ask("a") == 1.0


async def test_what_fails_its_probation_while_it_is_evicted_is_taken_back(tmp_path):
    async with trying(tmp_path, models=2.5) as now:
        await succeed(now, 1, 2)
        now.manager.residence.evict(("a", 2))
        fail(now)
        assert list(now.manager.table.versions("a")) == [1]
        await until(lambda: counted(now) == needs(tmp_path))


async def test_an_old_one_that_left_memory_beside_its_successor_stands_by_once_it_goes(tmp_path):
    async with trying(tmp_path, models=2.5) as now:
        shelf = Shelf(tmp_path / "a")
        first, second = shelf.put(1), shelf.put(2)
        await now.offer("a", first)
        await now.offer("a", first, second)
        now.manager.residence.evict(("a", 1))
        await now.manager.residence.brought("a", 1)
        await now.offer("a", second)
        assert now.manager.standbys.stands_by("a") is not None
        fail(now)
        assert list(now.manager.table.versions("a")) == [1]


async def test_an_unload_of_what_was_evicted_on_probation_lets_what_stands_by_go(tmp_path):
    async with trying(tmp_path, models=2.5) as now:
        await succeed(now, 1, 2)
        now.manager.residence.evict(("a", 2))
        assert await now.ask("a") == 2.0
        now.manager.apply(now.offers, [])
        await now.manager.settle("a")
        assert now.manager.standbys.stands_by("a") is None
        await until(lambda: counted(now) == 0)


async def test_new_content_takes_the_place_of_old_with_memory_for_one_and_nothing_is_told_twice(tmp_path):
    async with trying(tmp_path, models=1.5) as now:
        shelf = Shelf(tmp_path / "a")
        await now.offer("a", shelf.put(1))
        old = now.manager.events.latest(1, "a").events[0].content
        await now.offer("a", shelf.put(1, plus(5)))
        await now.manager.residence.brought("a", 1)
        assert await now.ask("a") == 5.0
        await until(lambda: counted(now) == needs(tmp_path))
        events = now.manager.events.latest(1000, "a").events
        lives = [
            [event.what for event in events if (event.content == old) is is_old] for is_old in (True, False)
        ]
        assert lives == [
            [What.SEEN, What.LOADING, What.READY, What.SWAPPED, What.UNLOADED],
            [What.SEEN, What.READY, What.BROUGHT_BACK],
        ]
        assert now.manager.standbys.stands_by("a") is None


async def test_coming_and_going_is_told_with_its_reason_and_how_long_it_lasted(tmp_path):
    async with trying(tmp_path, models=1.5) as now:
        await now.offer("a")
        await now.offer("b")
        await now.ask("a")
        evicted, back = now.manager.events.latest(2, "a").events
        assert (evicted.what, back.what) == (What.EVICTED, What.BROUGHT_BACK)
        assert evicted.reason == f"its memory is needed: {needs(tmp_path)} bytes of cpu"
        assert back.reason.startswith("it was asked for; its load took ")
        assert evicted.duration_s is not None
        assert back.duration_s is not None
