"""What becomes of a version whose worker process ends, as the index tells it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from runtimes.worker.crashes import CrashRule
from runtimes.worker.worker import WorkerLimits
from runtimes.worker.workers import Workers
from server.domain.errors import ModelNotReady
from server.domain.event import What
from server.domain.state import State
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
from server.lifecycle.standbys import Policy
from tests.lifecycle.serving import Serving, counted, serving
from tests.lifecycle.shelf import Shelf
from tests.lifecycle.waiting import until


@asynccontextmanager
async def managing(*, most: int, quarantine_s: float = 300.0) -> AsyncIterator[Manager]:
    workers = Workers("each", WorkerLimits(crashes=CrashRule(most=most, first_s=0.3)))
    loader = Loader(cpu_budget=1, max_queue_size=10, workers=workers)
    async with Manager(loader, load_threads=1, retire_within_s=5, quarantine_s=quarantine_s) as manager:
        yield manager
    workers.close()


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "m")


def index(manager: Manager) -> dict[int | None, tuple[State, str]]:
    return {line.version: (line.state, line.reason) for line in manager.index()}


async def strike(manager: Manager, model: str = "m", version: int = 1) -> None:
    """Kill the worker of a version, once it is there."""
    (session,) = manager.table.find(model, str(version))._sessions
    await until(lambda: session.pid is not None)
    psutil.Process(session.pid).kill()


async def test_while_a_worker_is_started_again_its_version_alone_says_so(shelf):
    async with managing(most=5) as manager:
        manager.apply({"m": shelf.offer(shelf.put(1), shelf.put(2))}, {"m"})
        await manager.settle("m")
        await strike(manager)
        await until(lambda: index(manager)[1] != (State.READY, ""))
        state, reason = index(manager)[1]
        assert state is State.READY
        assert reason.startswith("its runtime worker was ended by SIGKILL")
        assert reason.endswith("and is being started again")
        with pytest.raises(ModelNotReady, match="version 1 is not at ready state: its runtime worker"):
            manager.facts("m", "1").check()
        manager.facts("m", "2").check()
        assert index(manager)[2] == (State.READY, "")
        await until(lambda: index(manager)[1] == (State.READY, ""))
        manager.facts("m", "1").check()
        assert manager.facts("m", "1").tally.restarts == 1


async def test_a_version_in_quarantine_is_unavailable_and_leaves_the_server_ready(shelf):
    async with managing(most=1) as manager:
        offers = {"m": shelf.offer(shelf.put(1))}
        manager.apply(offers, {"m"})
        await manager.settle("m")
        assert manager.ready(strict=True)
        await strike(manager)
        await until(lambda: index(manager)[1][0] is State.UNAVAILABLE)
        assert "with 1 crashes within 300 s it is not started again" in index(manager)[1][1]
        assert manager.ready(strict=True)
        manager.apply(offers, {"m"})
        await manager.settle("m")
        assert index(manager)[1][0] is State.UNAVAILABLE, "looking at it again changes nothing"


async def test_a_load_call_ends_a_quarantine(shelf):
    async with managing(most=1) as manager:
        manager.apply({"m": shelf.offer(shelf.put(1))}, {"m"})
        await manager.settle("m")
        await strike(manager)
        await until(lambda: index(manager)[1][0] is State.UNAVAILABLE)
        await manager.settled("m")
        assert index(manager)[1] == (State.READY, "")


async def test_other_content_ends_a_quarantine(shelf):
    async with managing(most=1) as manager:
        manager.apply({"m": shelf.offer(shelf.put(1))}, {"m"})
        await manager.settle("m")
        await strike(manager)
        await until(lambda: index(manager)[1][0] is State.UNAVAILABLE)
        manager.apply({"m": shelf.offer(shelf.put(1, post_py="def postprocess(o): return o"))}, {"m"})
        await manager.settle("m")
        assert index(manager)[1] == (State.READY, "")


async def test_a_quarantine_ends_by_itself_after_its_time(shelf):
    async with managing(most=1, quarantine_s=0.5) as manager:
        manager.apply({"m": shelf.offer(shelf.put(1))}, {"m"})
        await manager.settle("m")
        await strike(manager)
        await until(lambda: index(manager)[1][0] is State.UNAVAILABLE)
        await asyncio.sleep(0)
        await until(lambda: index(manager)[1] == (State.READY, ""))


async def test_a_version_that_is_unloaded_in_quarantine_is_just_unloaded(shelf):
    async with managing(most=1, quarantine_s=0.2) as manager:
        offers = {"m": shelf.offer(shelf.put(1))}
        manager.apply(offers, {"m"})
        await manager.settle("m")
        await strike(manager)
        await until(lambda: index(manager)[1][0] is State.UNAVAILABLE)
        manager.apply(offers, ())
        await manager.settle("m")
        assert index(manager)[1] == (State.UNAVAILABLE, "unloaded")


# With a budget, and on probation.


OWN_MIB = 2**20
"""Any process has more."""


@asynccontextmanager
async def crowded(folder: Path, models: float = 1e6, most: int = 1, **how: object) -> AsyncIterator[Serving]:
    workers = Workers("each", WorkerLimits(crashes=CrashRule(most=most, first_s=0.1)))
    async with serving(folder, models, workers=workers, **how) as now:
        yield now
    workers.close()


async def test_a_workers_own_memory_counts_and_is_given_back_before_the_books_are_told(tmp_path):
    async with crowded(tmp_path) as now:
        await now.offer("a")
        (session,) = now.at("a")._sessions
        pid = session.pid
        assert counted(now) >= psutil.Process(pid).memory_info().rss * 0.7 > OWN_MIB
        assert now.manager.facts("a").memory == {"cpu": counted(now)}
        now.manager.residence.evict(("a", 1))
        await until(lambda: counted(now) == 0)
        assert not psutil.pid_exists(pid)
        assert await now.ask("a") == 1.0
        assert counted(now) > OWN_MIB


async def test_the_first_load_of_a_worker_has_room_for_its_process_made_before(tmp_path):
    async with crowded(tmp_path, models=1e5) as now:  # some 20 MiB, and no process has so little
        await now.offer("a")
        state, reason = now.state("a")
        assert state is State.UNAVAILABLE
        assert reason.startswith("needs ")
        assert now.loader.loads == []


async def test_a_version_in_quarantine_gives_its_memory_back_and_says_so_once(tmp_path):
    async with crowded(tmp_path) as now:
        await now.offer("a")
        await strike(now.manager, "a")
        await until(lambda: now.state("a")[0] is State.UNAVAILABLE)
        await until(lambda: counted(now) == 0)
        told = [event.what for event in now.manager.events.latest(100, "a").events]
        assert told[-3:] == [What.QUARANTINED, What.WAITING, What.UNLOADED]
        assert What.UNLOADING not in told


async def test_a_version_that_is_evicted_while_its_worker_is_away_is_ready_to_come_back(tmp_path):
    async with crowded(tmp_path, most=5) as now:
        await now.offer("a")
        await strike(now.manager, "a")
        await until(lambda: now.state("a") != (State.READY, ""))
        now.manager.residence.evict(("a", 1))
        assert now.state("a") == (State.READY, "")
        now.manager.facts("a").check()
        assert await now.ask("a") == 1.0
        told = [event.what for event in now.manager.events.latest(100, "a").events]
        assert told[-3:] == [What.WORKER_LOST, What.EVICTED, What.BROUGHT_BACK]


async def test_a_worker_that_comes_back_is_told_of_with_how_long_it_was_away(tmp_path):
    async with crowded(tmp_path, most=5) as now:
        await now.offer("a")
        await strike(now.manager, "a")
        await until(lambda: now.manager.facts("a").tally.restarts == 1)
        lost, back = now.manager.events.latest(2, "a").events
        assert (lost.what, back.what) == (What.WORKER_LOST, What.WORKER_BACK)
        assert "was ended by SIGKILL" in lost.reason
        assert back.duration_s >= 0.05


async def test_a_new_version_whose_worker_is_given_up_is_taken_back_at_once(tmp_path):
    async with crowded(tmp_path, rollback=Policy(window_s=30)) as now:
        shelf = Shelf(tmp_path / "a")
        await now.offer("a", shelf.put(1))
        await now.offer("a", shelf.put(2))
        await strike(now.manager, "a", 2)
        await until(lambda: list(now.manager.table.versions("a")) == [1])
        assert await now.ask("a") == 1.0
        await until(lambda: now.state("a", 2)[0] is State.UNAVAILABLE)
        assert now.state("a", 2)[1].startswith("rolled back: its runtime worker was ended by SIGKILL")


async def test_a_new_version_is_taken_back_though_what_stood_by_has_left(tmp_path):
    async with crowded(tmp_path, rollback=Policy(window_s=30)) as now:
        shelf = Shelf(tmp_path / "a")
        await now.offer("a", shelf.put(1))
        await now.offer("a", shelf.put(2))
        now.manager.standbys.evict("a")
        await strike(now.manager, "a", 2)
        await until(lambda: list(now.manager.table.versions("a")) == [1])
        assert await now.ask("a") == 1.0


async def test_what_stands_by_leaves_when_its_worker_is_given_up(tmp_path):
    async with crowded(tmp_path, rollback=Policy(window_s=30)) as now:
        shelf = Shelf(tmp_path / "a")
        await now.offer("a", shelf.put(1))
        (session,) = now.at("a")._sessions
        await now.offer("a", shelf.put(2))
        psutil.Process(session.pid).kill()
        await until(lambda: now.manager.standbys.stands_by("a") is None)
        assert await now.ask("a") == 2.0
