"""Whose turn it is on a device that several models share."""

import asyncio

import pytest

from server.scheduling.alarm import NEVER
from server.scheduling.resources import NO_NEEDS, Limit, Needs, Resources
from server.scheduling.turns import EXPRESS, Device, Seat, Turns


class Model:
    """Has so many runs to do, each of so many ns, and does one whenever it is its turn."""

    def __init__(
        self,
        device: Device,
        ns: float,
        runs: int,
        weight: float = 1.0,
        due: float = NEVER,
        needs: Needs = NO_NEEDS,
    ) -> None:
        self.ns = ns
        self.left = runs
        self.due = due
        self.under_way = 0
        self.seat: Seat = device.seat(self.look, lambda: self.due, weight=weight, needs=needs)

    def look(self) -> None:
        while self.left and self.seat.take(self.ns):
            self.left -= 1
            self.under_way += 1

    def finish(self) -> None:
        self.under_way -= 1
        self.seat.give_back(self.ns)
        self.look()


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def share_of(first: Model, second: Model, clock: Clock, ns: float) -> float:
    """What part of the device the first has when both always want it."""
    used = {first: 0.0, second: 0.0}
    for model in used:
        model.look()
    while sum(used.values()) < ns:
        running = min(
            (model for model in used if model.under_way), key=lambda model: model.seat.under_way[0][1]
        )
        clock.now = int(running.seat.under_way[0][1])
        used[running] += running.ns
        running.finish()
        await asyncio.sleep(0)
    return used[first] / sum(used.values())


async def test_a_model_that_has_the_device_for_itself_needs_no_turns(clock):
    model = Model(Device(1, clock), 10, runs=5)
    model.look()
    assert model.under_way == 5


async def test_no_more_runs_are_under_way_than_there_are_places(clock):
    device = Device(2, clock)
    one, two = Model(device, 10, runs=5), Model(device, 10, runs=5)
    one.look()
    two.look()
    assert (one.under_way, two.under_way) == (2, 0)


async def test_who_waits_is_called_when_a_place_is_free(clock):
    device = Device(1, clock)
    one, two = Model(device, 10, runs=1), Model(device, 10, runs=1)
    one.look()
    two.look()
    one.finish()
    await asyncio.sleep(0)
    assert (one.under_way, two.under_way) == (0, 1)


async def test_a_flood_of_short_runs_does_not_starve_a_model_of_long_ones(clock):
    device = Device(1, clock)
    flood, slow = Model(device, 60, runs=10**6), Model(device, 100, runs=10**6)
    assert await share_of(flood, slow, clock, 100_000) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("weight", [2.0, 3.0])
def test_shares_are_by_weight(clock, weight):
    async def play() -> float:
        device = Device(1, clock)
        heavy = Model(device, 10, runs=10**6, weight=weight)
        return await share_of(heavy, Model(device, 10, runs=10**6), clock, 100_000)

    assert asyncio.run(play()) == pytest.approx(weight / (weight + 1), abs=0.01)


async def test_deadlines_cannot_take_more_than_a_share(clock):
    device = Device(1, clock)
    urgent, patient = Model(device, 10, runs=10**6, due=0), Model(device, 10, runs=10**6)
    assert await share_of(urgent, patient, clock, 100_000) == pytest.approx(0.5, abs=0.01)


async def test_of_those_that_have_used_alike_the_one_that_must_begin_first_is_first(clock):
    device = Device(1, clock)
    busy = Model(device, 10, runs=1)
    later, sooner = Model(device, 10, runs=1, due=200), Model(device, 10, runs=1, due=100)
    for model in (busy, later, sooner):
        model.look()
    busy.finish()
    await asyncio.sleep(0)
    assert (later.under_way, sooner.under_way) == (0, 1)


async def test_what_a_model_did_not_use_while_it_was_idle_is_not_kept_for_it(clock):
    device = Device(1, clock)
    busy, idle = Model(device, 10, runs=10**6), Model(device, 10, runs=0)
    assert await share_of(busy, idle, clock, 10_000) == 1
    idle.left = 10**6
    assert await share_of(busy, idle, clock, 10_000) == pytest.approx(0.5, abs=0.01)


async def test_who_was_alone_for_long_shares_alike_with_one_that_comes_later(clock):
    device = Device(1, clock)
    old = Model(device, 10, runs=100)
    for _ in range(100):
        assert old.seat.take(10)
        clock.now += 10
        old.seat.give_back(10)
    old.left = 10**6
    new = Model(device, 10, runs=10**6)
    assert await share_of(old, new, clock, 10_000) == pytest.approx(0.5, abs=0.01)


async def test_much_shorter_runs_go_beside_long_ones_that_hold_all_places(clock):
    device = Device(1, clock)
    long, short = Model(device, 100, runs=5), Model(device, 2, runs=10)
    long.look()
    short.look()
    assert (long.under_way, short.under_way) == (1, EXPRESS)


async def test_a_run_that_is_not_much_shorter_waits_for_its_turn(clock):
    device = Device(1, clock)
    long, other = Model(device, 100, runs=5), Model(device, 60, runs=1)
    long.look()
    other.look()
    assert other.under_way == 0
    clock.now = 90
    short = Model(device, 8, runs=1)
    short.look()
    assert short.under_way == 0, "the long one is nearly over"


async def test_a_run_that_takes_longer_than_expected_is_expected_to_take_as_long_again(clock):
    device = Device(1, clock)
    unknown, short = Model(device, 0, runs=1), Model(device, 2, runs=1)
    unknown.look()
    clock.now = 3
    short.look()
    assert short.under_way == 0
    assert short.seat.wait_ns() == 3
    clock.now = 5
    short.look()
    assert short.under_way == 1


async def test_a_model_that_leaves_lets_the_others_on(clock):
    device = Device(1, clock)
    gone, one, two = (Model(device, 10, runs=1) for _ in range(3))
    gone.look()
    one.look()
    two.look()
    gone.under_way -= 1
    gone.seat.give_back(10)
    one.seat.leave()
    one.left = 0
    await asyncio.sleep(0)
    assert two.under_way == 1


async def test_a_free_place_is_not_lost_on_one_that_does_not_want_it_any_more(clock):
    device = Device(1, clock)
    busy, gone, next_one = (Model(device, 10, runs=1) for _ in range(3))
    for model in (busy, gone, next_one):
        model.look()
    gone.left = 0  # its caller has left
    busy.finish()
    await asyncio.sleep(0)
    assert next_one.under_way == 1


def test_the_cpu_has_as_many_places_as_processors_and_another_device_two(clock):
    async def under_way(turns: Turns, name: str) -> int:
        device = turns.device(name)
        assert turns.device(name) is device
        Model(device, 10, runs=0)
        model = Model(device, 10, runs=9)
        model.look()
        return model.under_way

    assert asyncio.run(under_way(Turns(processors=4, clock=clock), "cpu")) == 4
    assert asyncio.run(under_way(Turns(processors=4, clock=clock), "cuda:0")) == 2
    assert asyncio.run(under_way(Turns(processors=4, concurrency=3, clock=clock), "cuda:0")) == 3


POOL = ("R", "")


async def test_a_run_waits_for_its_resources_also_when_the_place_is_free(clock):
    resources = Resources([Limit("R", 2)])
    turns = Turns(processors=4, resources=resources, clock=clock)
    for needs in ({POOL: 2}, {POOL: 1}):
        resources.join(needs)
    called = []
    large = turns.device("cpu").seat(lambda: None, lambda: NEVER, needs={POOL: 2})
    small = turns.device("cuda:0").seat(lambda: called.append(1), lambda: NEVER, needs={POOL: 1})
    assert large.take(10)
    assert not small.take(10), "another device, but a global resource"
    large.give_back(10)
    await asyncio.sleep(0)
    assert called
    assert small.take(10)
    assert not large.take(10)


async def test_small_needs_do_not_take_again_and_again_what_a_large_one_waits_for(clock):
    resources = Resources([Limit("R", 2)])
    device = Turns(processors=8, resources=resources, clock=clock).device("cpu")
    resources.join({POOL: 2})
    small = [Model(device, 10, runs=100, needs={POOL: 1}) for _ in range(2)]
    large = Model(device, 10, runs=1, needs={POOL: 2})
    for model in (*small, large):
        model.look()
    for turn in range(6):
        one = small[turn % 2]
        if one.under_way:
            clock.now += 10
            one.finish()
            await asyncio.sleep(0)
    assert large.under_way == 1
