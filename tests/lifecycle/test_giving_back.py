"""What is closed is given back to the system, once for all that is closed together."""

import asyncio
import threading
import time
from time import monotonic

import pytest

from server.lifecycle.giving_back import Given, GivingBack
from tests.lifecycle.waiting import until

MIB = 2**20


class Memory:
    """What is resident: closing frees `freed` of it, and it goes when it is given back."""

    def __init__(self, freed: int = MIB) -> None:
        self.resident = 10 * MIB
        self.takes_s = 0.0
        self.times = self.closes = 0
        self.threads: set[str] = set()
        self._freed = freed
        self._kept = 0

    def close(self) -> None:
        self.closes += 1
        self._kept += self._freed

    def give_back(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.times += 1
        time.sleep(self.takes_s)
        self.resident -= self._kept
        self._kept = 0

    def giving_back(self, breath_s: float = 0.01) -> GivingBack:
        return GivingBack(lambda: self.resident, self.give_back, breath_s)


async def closed(giving: GivingBack, memory: Memory) -> Given:
    await giving.close(memory.close)
    return await giving.back()


async def test_what_one_held_is_a_number():
    memory = Memory()
    assert await closed(memory.giving_back(), memory) == Given(MIB, 1)


async def test_many_that_are_closed_together_are_given_back_at_once_and_off_the_loop():
    memory = Memory()
    giving = memory.giving_back()
    given = await asyncio.gather(*(closed(giving, memory) for _ in range(20)))
    assert set(given) == {Given(20 * MIB, 20)}
    assert memory.times == 1
    assert threading.main_thread().name not in memory.threads


async def test_one_that_is_closed_later_is_not_counted_twice():
    memory = Memory()
    giving = memory.giving_back()
    assert await closed(giving, memory) == Given(MIB, 1)
    assert await closed(giving, memory) == Given(MIB, 1)
    assert memory.times == 2


async def test_one_that_is_closed_alone_is_given_back_at_once_and_the_next_after_a_rest():
    memory = Memory()
    memory.takes_s = 0.02
    giving = memory.giving_back(breath_s=30)
    began = monotonic()
    await closed(giving, memory)
    assert monotonic() - began < 1
    began = monotonic()
    given = await asyncio.gather(closed(giving, memory), closed(giving, memory))
    assert 0.06 < monotonic() - began < 10, "some times what it took, and not a whole breath"
    assert set(given) == {Given(2 * MIB, 2)}
    assert memory.times == 2


async def test_what_grew_meanwhile_is_never_less_than_nothing():
    memory = Memory(freed=-MIB)
    assert await closed(memory.giving_back(), memory) == Given(0, 1)


async def test_who_leaves_takes_nobody_along():
    memory = Memory()
    memory.takes_s = 0.05
    giving = memory.giving_back(breath_s=30)
    await closed(giving, memory)
    first, second = (asyncio.ensure_future(closed(giving, memory)) for _ in range(2))
    await until(lambda: memory.closes == 3)  # they wait until it has rested
    first.cancel()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert memory.resident == 7 * MIB


async def test_a_close_that_fails_says_so_and_harms_no_other():
    memory = Memory()
    giving = memory.giving_back()

    def fails() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await giving.close(fails)
    assert await closed(giving, memory) == Given(MIB, 1)
