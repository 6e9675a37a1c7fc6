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
from server.domain.state import State
from server.lifecycle.loader import Loader
from server.lifecycle.manager import Manager
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


async def strike(manager: Manager) -> None:
    """Kill the worker of version 1, once it is there."""
    (session,) = manager.table.find("m", "1")._sessions
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
