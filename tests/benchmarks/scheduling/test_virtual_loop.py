"""A loop that never sleeps: its time is exact, its order asyncio's own, and it does not wait for nothing."""

import asyncio
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.scheduling.virtual_loop import START_NS, Stuck, VirtualLoop


def run(main):
    """`main` gets its loop."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop))


def test_an_hour_passes_in_no_time_and_to_the_nanosecond():
    async def main(loop: VirtualLoop) -> int:
        await asyncio.sleep(3600)
        return loop.now_ns() - START_NS

    began = time.monotonic()
    assert run(main) == 3600 * 10**9
    assert time.monotonic() - began < 5


@settings(max_examples=50, deadline=None)
@example([240, 241])
@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=20))
def test_timers_are_called_in_their_order_each_at_its_own_nanosecond(moments):
    async def main(loop: VirtualLoop) -> list[tuple[int, int]]:
        called = []
        for moment in moments:
            loop.call_at_ns(START_NS + moment, lambda moment=moment: called.append((moment, loop.now_ns())))
        await asyncio.sleep(max(moments) / 1e9 + 1)
        return called

    assert run(main) == [(moment, START_NS + moment) for moment in sorted(moments)]


def test_what_is_called_soon_comes_before_time_goes_on():
    async def main(loop: VirtualLoop) -> list[str]:
        order: list[str] = []
        loop.call_later(0.001, order.append, "later")
        loop.call_soon(lambda: loop.call_soon(order.append, "soon"))
        await asyncio.sleep(0.002)
        return order

    assert run(main) == ["soon", "later"]


def test_a_timeout_is_over_when_it_says():
    async def main(loop: VirtualLoop) -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.sleep(1000)
        return loop.now_ns() - START_NS

    assert run(main) == 2_500_000_000


def test_whoever_asks_again_until_its_moment_has_come_finds_that_time_passes():
    async def main(loop: VirtualLoop) -> int:
        moment, asked = 1.0000000123456, 0

        def ask() -> None:
            nonlocal asked
            asked += 1
            if loop.time() < moment and asked < 10:
                loop.call_later(moment - loop.time(), ask)

        ask()
        await asyncio.sleep(1)
        return asked

    assert run(main) < 10


def test_an_error_in_a_callback_ends_the_run():
    async def main(loop: VirtualLoop) -> None:
        loop.call_later(1, lambda: 1 / 0)
        await asyncio.sleep(2)

    with pytest.raises(ZeroDivisionError):
        run(main)


def test_waiting_for_what_nobody_will_bring_is_an_error_that_says_when():
    async def main(loop: VirtualLoop) -> None:
        await asyncio.sleep(1.5)
        await loop.create_future()

    with pytest.raises(Stuck, match=r"after 1\.500 s of virtual time nothing is scheduled"):
        run(main)
