"""Where pre- and post-processing code runs: threads, and a line of bounded length before them."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import pytest

from server.domain.errors import QueueFull, ServerStopping
from server.stages.pool import Pool

T = TypeVar("T")


async def result(pool: Pool, work: Callable[[], T]) -> T:
    return (await pool.run("m", work)).result()


async def once_there_is_a_place(pool: Pool) -> str:
    while True:
        try:
            return await result(pool, lambda: "in")
        except QueueFull:
            await asyncio.sleep(0.001)


async def test_work_is_done_off_the_event_loop_and_what_it_raises_is_raised():
    pool = Pool(1, 1)
    assert await result(pool, threading.current_thread) is not threading.main_thread()
    with pytest.raises(ZeroDivisionError):
        await result(pool, lambda: 1 / 0)
    pool.close()


async def test_as_many_wait_as_may_and_the_next_is_refused_at_once():
    pool, gate = Pool(2, 1), threading.Event()
    working = [asyncio.create_task(result(pool, lambda: gate.wait(10))) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull, match="model 'm' already has 3 requests waiting"):
        await result(pool, lambda: None)
    gate.set()
    assert await asyncio.gather(*working) == [True] * 3
    assert await result(pool, lambda: "again") == "again"
    pool.close()


async def test_who_leaves_before_its_turn_never_takes_it_and_gives_its_place_back():
    pool, gate, done = Pool(1, 1), threading.Event(), []
    working = asyncio.create_task(result(pool, lambda: gate.wait(10)))
    waiting = asyncio.create_task(result(pool, lambda: done.append("never")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    another = asyncio.create_task(result(pool, lambda: done.append("another")))
    gate.set()
    await asyncio.gather(working, another)
    assert done == ["another"]
    pool.close()


async def test_who_leaves_in_mid_work_keeps_its_place_until_the_work_ends():
    pool, begun, gate = Pool(1, 0), threading.Event(), threading.Event()
    working = asyncio.create_task(result(pool, lambda: (begun.set(), gate.wait(10))))
    await asyncio.to_thread(begun.wait, 10)
    working.cancel()
    await asyncio.wait((working,))
    with pytest.raises(QueueFull):
        await result(pool, lambda: None)
    gate.set()
    assert await asyncio.wait_for(once_there_is_a_place(pool), 10) == "in"
    pool.close()


async def test_closing_does_not_wait_and_what_has_not_begun_never_begins():
    pool, begun, gate = Pool(1, 1), threading.Event(), threading.Event()
    working = asyncio.create_task(result(pool, lambda: begun.set() or gate.wait(10)))
    waiting = asyncio.create_task(result(pool, lambda: pytest.fail("it began")))
    await asyncio.to_thread(begun.wait, 10)
    pool.close()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()
    gate.set()
    assert await working


async def test_its_demand_is_all_who_asked_and_what_each_takes_of_a_thread():
    pool, gate = Pool(2, 1), threading.Event()
    working = [asyncio.create_task(result(pool, lambda: gate.wait(10))) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await result(pool, lambda: None)
    _, asked = pool.demand.read(1)
    assert (asked.number, asked.places) == (4, 2)
    gate.set()
    await asyncio.gather(*working)
    _, asked = pool.demand.read(2)
    assert asked.number == 4
    assert 0 < asked.each_ns < 10e9
    pool.close()


async def test_what_a_call_takes_does_not_count_its_waiting():
    pool, began = Pool(1, 10), time.monotonic_ns()
    await asyncio.gather(*(result(pool, lambda: time.sleep(0.01)) for _ in range(5)))
    took = time.monotonic_ns() - began
    _, asked = pool.demand.read(1)
    assert 10e6 <= asked.each_ns <= took / 5, "one after the other, on one thread"
    pool.close()


async def test_work_is_done_in_its_order():
    pool, done = Pool(1, 100), []
    await asyncio.gather(*(result(pool, lambda at=at: done.append(at)) for at in range(50)))
    assert done == list(range(50))
    pool.close()


async def test_work_that_waits_goes_side_by_side_on_as_many_threads_as_there_are():
    pool, together = Pool(3, 10), threading.Barrier(3)
    await asyncio.gather(*(result(pool, lambda: together.wait(10)) for _ in range(3)))
    pool.close()


async def test_a_call_that_hangs_holds_up_nobody_while_there_is_a_thread():
    pool, gate = Pool(2, 10), threading.Event()
    hanging = asyncio.create_task(result(pool, lambda: gate.wait(10)))
    behind = [asyncio.create_task(result(pool, lambda: "done")) for _ in range(5)]
    assert await asyncio.wait_for(asyncio.gather(*behind), 5) == ["done"] * 5
    assert not hanging.done()
    gate.set()
    await hanging
    pool.close()


async def test_calls_known_to_be_long_wait_for_no_look_at_the_line(monkeypatch):
    monkeypatch.setattr("server.stages.pool.LOOK_S", 1000.0)
    pool, together = Pool(2, 10), threading.Barrier(2)
    await result(pool, lambda: time.sleep(0.01))
    await asyncio.wait_for(asyncio.gather(*(result(pool, lambda: together.wait(10)) for _ in range(2))), 5)
    pool.close()


async def test_what_one_who_is_told_raises_harms_no_other():
    pool, told = Pool(1, 10), asyncio.Event()
    pool.begin("m", lambda: None, lambda _: 1 / 0)
    pool.begin("m", lambda: None, lambda _: told.set())
    await asyncio.wait_for(told.wait(), 5)
    assert await result(pool, lambda: "on") == "on"
    pool.close()


async def test_who_is_told_is_told_once_on_the_loop_and_who_left_never():
    pool, gate, told = Pool(1, 10), threading.Event(), []
    first = pool.begin("m", lambda: gate.wait(10), lambda job: told.append(threading.current_thread()))
    begun = pool.begin("m", lambda: None, lambda job: told.append("left"))
    pool.leave(begun)
    gate.set()
    assert await result(pool, lambda: "after") == "after"
    assert told == [threading.main_thread()]
    assert first.result() is True
    pool.close()


async def test_what_work_raised_is_held_by_nobody_once_it_was_told():
    class Large:
        pass

    async def ask() -> weakref.ref:
        large = Large()

        def work() -> None:
            raise ValueError(large)

        with pytest.raises(ValueError):
            await result(pool, work)
        return weakref.ref(large)

    pool = Pool(1, 1)
    gc.disable()
    try:
        held = await ask()
        assert held() is None
    finally:
        gc.enable()
    pool.close()


async def test_a_thread_that_has_nothing_to_do_ends_and_another_comes(monkeypatch):
    monkeypatch.setattr("server.stages.pool.IDLE_S", 0.01)
    pool = Pool(1, 1)
    first = await result(pool, threading.current_thread)
    await asyncio.to_thread(first.join, 10)
    assert not first.is_alive()
    assert await result(pool, lambda: "on") == "on"
    pool.close()


async def test_threads_end_when_it_is_closed():
    pool = Pool(1, 1)
    thread = await result(pool, threading.current_thread)
    pool.close()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


async def test_where_the_system_gives_no_thread_work_waits_until_it_gives_one(monkeypatch):
    start, refused = threading.Thread.start, []

    def harmed(thread: threading.Thread) -> None:
        if thread.name.startswith("stage_") and len(refused) < 3:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", harmed)
    pool = Pool(1, 1)
    assert await asyncio.wait_for(result(pool, lambda: "done"), 5) == "done"
    assert len(refused) == 3
    pool.close()


async def test_who_comes_after_it_is_closed_is_told_so():
    pool = Pool(1, 1)
    pool.close()
    with pytest.raises(ServerStopping):
        await asyncio.wait_for(result(pool, lambda: None), 5)


async def test_what_was_made_for_who_left_as_it_was_told_is_held_by_nobody():
    class Large:
        pass

    held: list[weakref.ref] = []

    def work() -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise ValueError(large)

    pool = Pool(1, 1)
    settle = pool._settle

    async def ask() -> None:
        asking = asyncio.create_task(result(pool, work))
        pool._settle = lambda: (settle(), asking.cancel())  # told, and cancelled before its turn
        await asyncio.wait((asking,))
        assert asking.cancelled()
        pool._settle = settle

    gc.disable()
    try:
        await ask()
        assert held[0]() is None
    finally:
        gc.enable()
    pool.close()


async def test_results_wait_for_each_other_a_little_while_others_wait_for_the_thread():
    pool, turns = Pool(1, 100), []
    over = asyncio.Event()

    def told(job):
        turns.append(asyncio.get_running_loop().time())
        if len(turns) == 40:
            over.set()

    for _ in range(40):
        pool.begin("m", lambda: time.sleep(0.002), told)
    async with asyncio.timeout(10):
        await over.wait()
    together = sum(after - before < 0.001 for before, after in pairwise(turns))
    assert together >= 15  # of those who waited 20 ms and more, two and more at once
    pool.close()


async def test_a_result_does_not_wait_for_a_call_that_takes_long():
    pool, gate = Pool(1, 100), threading.Event()
    first = [asyncio.create_task(result(pool, lambda: time.sleep(0.02))) for _ in range(5)]
    last = asyncio.create_task(result(pool, lambda: gate.wait(10)))
    async with asyncio.timeout(2):
        await asyncio.gather(*first)
    assert not last.done()
    gate.set()
    await last
    pool.close()
