"""Who waits for memory, who passes, and what waiting costs the others."""

import asyncio
from collections.abc import Iterable

import pytest

from server.domain.errors import NoRoom
from server.lifecycle.residency.accountant import Accountant, Bytes, Holding, OverBudget
from server.lifecycle.residency.decision import Resident
from server.lifecycle.room import Room, Unwanted, Wanted
from tests.lifecycle.waiting import until


class Memory:
    """Devices with a budget, and residents that leave when they are told to: their memory is back later."""

    def __init__(self, patience_s: float = 5.0, **budgets: int) -> None:
        self.accountant = Accountant(budgets)
        self.used: set[str] = set()
        self.looks = 0
        self.leaving: list[str] = []
        self._holdings: dict[str, Holding] = {}
        self.room = Room(
            self.accountant,
            residents=self._residents,
            in_use=lambda key: key[0] in self.used,
            evict=lambda key: self.leave(key[0]),
            min_residency_s=0.0,
            patience_s=patience_s,
        )

    def put(self, name: str, used: bool = False, **size: int) -> None:
        holding = self.accountant.reserve((name, 1), size)
        self.accountant.settle(holding, size)
        self._holdings[name] = holding
        if used:
            self.used.add(name)

    def leave(self, name: str) -> None:
        self.accountant.leaving(self._holdings[name])
        self.leaving.append(name)

    def back(self, names: Iterable[str]) -> None:
        for name in list(names):
            self.room.gone(self._holdings.pop(name))
            self.leaving.remove(name)

    def wants(self, name: str, evicts: bool = True, **needs: int) -> "asyncio.Task[Holding]":
        return asyncio.create_task(self.room.reserve(Wanted((name, 1), needs, evicts=evicts)))

    def _residents(self) -> list[Resident]:
        self.looks += 1
        return [
            Resident(key=(name, 1), bytes=self.accountant.held(holding), in_use=name in self.used)
            for name, holding in self._holdings.items()
            if name not in self.leaving
        ]


def held(memory: Memory, name: str) -> Bytes:
    return memory.accountant.held((name, 1))


async def test_memory_that_does_not_come_back_is_waited_for_no_longer_than_a_load_waits():
    memory = Memory(patience_s=0.2, gpu=100)
    memory.put("old", gpu=100)
    with pytest.raises(NoRoom, match="others are to leave for it first"):
        await asyncio.wait_for(memory.wants("new", gpu=50), 2.0)
    assert memory.leaving == ["old"]


async def test_who_waits_for_one_device_holds_nobody_up_on_another():
    memory = Memory(gpu=100, cpu=100)
    memory.put("old", gpu=100)
    memory.put("other", cpu=100)
    waits = memory.wants("big", gpu=50)
    beside = memory.wants("beside", cpu=50)
    await until(lambda: memory.leaving == ["old", "other"])
    memory.back(["other"])
    await asyncio.wait_for(beside, 1.0)
    assert not waits.done()
    memory.back(["old"])
    await asyncio.wait_for(waits, 1.0)


async def test_who_fits_passes_who_waits_but_does_not_take_what_is_coming_back_for_it():
    memory = Memory(cpu=100)
    memory.put("a", cpu=50)
    memory.put("b", cpu=40)
    big = memory.wants("big", cpu=55)
    await until(lambda: memory.leaving == ["a"])
    await asyncio.wait_for(memory.wants("tiny", cpu=5), 1.0)
    small = memory.wants("small", cpu=5)
    await asyncio.sleep(0.15)
    assert not small.done(), "5 are free, and big needs them"
    assert memory.leaving == ["a"], "one at a time has others leave"
    memory.back(["a"])
    await asyncio.wait_for(big, 1.0)
    await until(lambda: memory.leaving == ["b"])
    memory.back(["b"])
    await asyncio.wait_for(small, 1.0)
    assert held(memory, "big") == {"cpu": 55}


async def test_who_can_only_wait_for_others_lets_the_next_one_evict():
    memory = Memory(cpu=100)
    memory.put("used", used=True, cpu=80)
    memory.put("free", cpu=20)
    big = memory.wants("big", cpu=60)
    await until(lambda: memory.looks == 1)
    small = memory.wants("small", cpu=20)
    await until(lambda: memory.leaving == ["free"])
    memory.back(["free"])
    await asyncio.wait_for(small, 1.0)
    assert not big.done()
    big.cancel()


async def test_many_loads_that_wait_look_at_what_is_in_memory_together_and_seldom():
    memory = Memory(cpu=100)
    memory.put("used", used=True, cpu=100)
    waiting = [memory.wants(f"m{number}", cpu=10) for number in range(20)]
    await asyncio.sleep(0.5)
    assert 1 <= memory.looks <= 3
    memory.used.clear()
    await until(lambda: memory.leaving == ["used"])
    memory.back(["used"])
    done, _ = await asyncio.wait(waiting, timeout=0.5)
    assert len(done) == 10
    for task in waiting:
        task.cancel()


async def test_what_falls_free_is_noticed_at_once():
    memory = Memory(cpu=100)
    memory.put("used", used=True, cpu=100)
    waits = memory.wants("new", cpu=10)
    await until(lambda: memory.looks > 0)
    began = asyncio.get_running_loop().time()
    memory.used.clear()
    await until(lambda: memory.leaving == ["used"])
    assert asyncio.get_running_loop().time() - began < 0.5
    memory.back(["used"])
    await waits


async def test_who_leaves_makes_way_for_who_waits_behind_it_and_keeps_nothing():
    memory = Memory(cpu=100)
    memory.put("old", cpu=100)
    first, second = memory.wants("first", cpu=100), memory.wants("second", cpu=100)
    await until(lambda: memory.leaving == ["old"])
    memory.back(["old"])
    first.cancel()
    await asyncio.wait_for(second, 1.0)
    assert dict(memory.accountant.books().counted) == {"cpu": 100}
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_who_was_given_its_memory_as_it_left_gives_it_back():
    memory = Memory(cpu=100)
    memory.put("old", cpu=100)
    first = memory.wants("first", cpu=100)
    await until(lambda: memory.leaving == ["old"])
    memory.back(["old"])
    memory.room._look()
    assert held(memory, "first") == {"cpu": 100}
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not held(memory, "first")


async def test_a_load_that_is_wanted_no_more_or_may_not_evict_is_told_so():
    memory = Memory(cpu=100)
    memory.put("old", cpu=100)
    with pytest.raises(OverBudget, match="are taken"):
        await memory.wants("meek", evicts=False, cpu=10)
    memory.used.add("old")
    wanted = True
    waits = asyncio.create_task(
        memory.room.reserve(Wanted(("new", 1), {"cpu": 10}, evicts=True, is_wanted=lambda: wanted))
    )
    await until(lambda: memory.looks > 1)
    wanted = False
    with pytest.raises(Unwanted):
        await asyncio.wait_for(waits, 1.0)


async def test_a_fault_of_ours_reaches_who_wants_the_load():
    memory = Memory(cpu=100)
    memory.put("old", cpu=100)
    memory.leave = None
    with pytest.raises(TypeError):
        await asyncio.wait_for(memory.wants("new", cpu=10), 1.0)
