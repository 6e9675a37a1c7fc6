"""A request that is alone, as all before it were, goes at once; whoever may have company waits for it."""

import asyncio
from itertools import count
from time import thread_time_ns

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.errors import DeadlineExceeded, InferenceFailed, ServingError, TooLate
from server.observe.histogram import Histogram
from server.observe.pressure import Pressure
from server.observe.run_counts import RunCounts
from server.observe.tally import Tally
from server.scheduling.batcher import LONELY, Batcher
from server.scheduling.pace import IN_PLACE_NS
from server.scheduling.plan import Plan
from server.scheduling.queue import Level
from server.scheduling.resources import NO_NEEDS
from server.scheduling.rule import BatchRule
from server.scheduling.ticket import Ticket
from server.scheduling.turns import Turns

RULE = BatchRule(max_batch_size=8)


class Slot:
    """Its runs end when they are told to; a negative input fails its run."""

    device = "cpu"
    needs = NO_NEEDS
    priority = 0

    def __init__(self) -> None:
        self.under_way = []
        self.batches: list[int] = []
        self.is_out_of_threads = False

    def run(self, inputs):
        self.batches.append(len(inputs["X"]))
        if (inputs["X"] < 0).any():
            raise RuntimeError("negative numbers upset this model")
        return {"Y": inputs["X"]}

    def start(self, work, done):
        if self.is_out_of_threads:
            raise RuntimeError("can't start new thread")
        self.under_way.append((work, done))

    def end(self) -> None:
        ended, self.under_way = self.under_way, []
        for work, done in ended:
            work()
            done()


def ticking():
    """Each look at the clock is 10 microseconds after the one before."""
    return count(10**9, 10_000).__next__


def make(
    slot: Slot, *, rule: BatchRule | None = RULE, in_place=False, tally=None, turns=None, clock=None, **facts
):
    return Batcher(
        model="m",
        version=1,
        plan=Plan(batches=True, rule=rule, **facts),
        slots=[slot],
        in_place=in_place,
        tally=tally or Tally(),
        turns=turns,
        clock=clock or ticking(),
    )


def ask(batcher: Batcher, value: float = 0.0, rows: int = 1, **facts) -> Ticket:
    ticket = Ticket({"X": np.full((rows, 1), value, np.float32)}, rows, lambda _: None, **facts)
    batcher.submit(ticket)
    return ticket


async def one_after_another(batcher: Batcher, slot: Slot, requests: int = LONELY, rows: int = 1) -> None:
    for _ in range(requests):
        ticket = ask(batcher, rows=rows)
        await asyncio.sleep(0)
        slot.end()
        assert ticket.outputs is not None


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"rule": None},
        {"rule": BatchRule(max_batch_size=1)},
        {"latency_target_s": 0.1},
        {"rule": None, "latency_target_s": 0.1},
    ],
)
async def test_whoever_is_alone_as_all_before_it_were_does_not_wait_for_the_end_of_the_turn(plan):
    slot = Slot()
    batcher = make(slot, **plan)
    await one_after_another(batcher, slot, LONELY - 1)
    last = ask(batcher)
    assert not slot.under_way, "too few have been alone"
    await asyncio.sleep(0)
    slot.end()
    lone = ask(batcher)
    assert slot.under_way
    assert not lone.settled
    slot.end()
    assert last.outputs is not None
    assert lone.outputs is not None


@pytest.mark.parametrize("target", [None, 0.1])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("rule", [None, RULE, BatchRule(max_batch_size=2)])
async def test_who_goes_at_once_is_counted_as_who_waits_for_the_end_of_the_turn(rule, rows, target):
    tally, slot = Tally(), Slot()
    batcher = make(slot, rule=rule, tally=tally, latency_target_s=target, request_rows=2)

    async def whys_of(requests: int) -> list[dict[str, int]]:
        before = [{**tally.left}, {**tally.small}]
        await one_after_another(batcher, slot, requests, rows)
        return [
            {why: now[why] - was[why] for why in now if now[why] > was[why]}
            for was, now in zip(before, (tally.left, tally.small), strict=True)
        ]

    await one_after_another(batcher, slot, 2, rows)
    first = await whys_of(1)
    await one_after_another(batcher, slot, LONELY, rows)
    assert await whys_of(1) == first


async def test_whoever_comes_in_the_turn_of_one_that_left_alone_goes_next_and_then_all_leave_together_again():
    slot = Slot()
    batcher = make(slot)
    await one_after_another(batcher, slot)
    crowd = [ask(batcher) for _ in range(4)]
    for _ in range(2):
        await asyncio.sleep(0)
        slot.end()
    assert all(ticket.outputs is not None for ticket in crowd)
    assert slot.batches[LONELY:] == [1, 3]
    for _ in range(3):
        [ask(batcher) for _ in range(4)]
        await asyncio.sleep(0)
        slot.end()
    assert slot.batches[LONELY + 2 :] == [4, 4, 4]


@pytest.mark.parametrize(
    "plan",
    [
        {"rule": BatchRule(max_batch_size=8, max_queue_delay_us=100)},
        {"rule": BatchRule(max_batch_size=8, preferred_batch_sizes=(4,))},
        {"preserve_ordering": True},
        {"levels": (Level(max_size=8, timeout_ns=10**9),)},
    ],
)
async def test_where_anything_is_to_be_weighed_nobody_goes_before_the_end_of_the_turn(plan):
    slot = Slot()
    batcher = make(slot, **plan)
    for _ in range(LONELY + 2):
        ticket = ask(batcher)
        assert not slot.under_way
        async with asyncio.timeout(5):
            while not slot.under_way:  # noqa: ASYNC110
                await asyncio.sleep(0)
        slot.end()
        assert ticket.outputs is not None


async def test_whose_time_is_over_is_not_run_however_alone_it_is():
    slot = Slot()
    batcher = make(slot)
    await one_after_another(batcher, slot)
    late = ask(batcher, deadline=0.5)
    for _ in range(3):
        await asyncio.sleep(0)
    assert isinstance(late.error, DeadlineExceeded)
    assert not slot.under_way


async def test_a_deadline_that_passes_while_it_runs_alone_is_told_at_once():
    slot, clock = Slot(), ticking()
    batcher = make(slot, clock=clock)
    await one_after_another(batcher, slot)
    ticket = ask(batcher, deadline=clock() / 1e9 + 0.02)
    async with asyncio.timeout(5):
        while not ticket.settled:
            await asyncio.sleep(0.001)
            [clock() for _ in range(1000)]
    assert isinstance(ticket.error, DeadlineExceeded)
    slot.end()


async def test_who_cannot_be_in_time_is_refused_however_alone_it_is():
    tally, slot = Tally(), Slot()
    batcher = make(slot, tally=tally, latency_target_s=0.001)
    await one_after_another(batcher, slot)
    with pytest.raises(TooLate):
        ask(batcher, asked=0.5)
    assert not slot.under_way
    assert tally.refused["late"] == 1


async def test_beside_another_model_on_its_device_nobody_goes_before_the_end_of_the_turn():
    slot, other_slot, turns = Slot(), Slot(), Turns(concurrency=1)
    batcher = make(slot, turns=turns)
    await one_after_another(batcher, slot)
    other = make(other_slot, turns=turns)
    lone = ask(batcher)
    assert not slot.under_way
    await asyncio.sleep(0)
    slot.end()
    assert lone.outputs is not None
    await other.close(1)
    ask(batcher)
    assert slot.under_way


async def test_a_run_that_is_done_in_place_is_not_done_in_the_middle_of_submit():
    class LongForOneRow(Slot):
        def run(self, inputs):
            until = thread_time_ns() + 2 * IN_PLACE_NS * (len(inputs["X"]) == 1)
            while thread_time_ns() < until:
                pass
            return super().run(inputs)

    slot = LongForOneRow()
    batcher = make(slot, in_place=True)
    ask(batcher, rows=4)  # so that it is known to be short
    await asyncio.sleep(0)
    slot.end()
    await one_after_another(batcher, slot)
    short = ask(batcher, rows=4)
    assert not short.settled
    assert not slot.under_way, "it needs no thread"
    await asyncio.sleep(0)
    assert short.outputs is not None
    assert not slot.under_way


async def test_on_two_slots_runs_beside_each_other_are_not_alone():
    slots = Slot(), Slot()
    batcher = make(slots[0])
    batcher.resize(slots)
    for _ in range(LONELY):
        for _ in range(2):
            ask(batcher)
            await asyncio.sleep(0)
        assert slots[0].under_way
        assert slots[1].under_way
        slots[0].end()
        slots[1].end()
    ask(batcher)
    assert not slots[0].under_way
    assert not slots[1].under_way


async def test_a_lone_run_that_fails_or_cannot_start_is_told_so():
    tally, slot = Tally(), Slot()
    batcher = make(slot, tally=tally)
    await one_after_another(batcher, slot)
    failing = ask(batcher, -1.0, arrived=1.0)
    slot.end()
    slot.is_out_of_threads = True
    threadless = ask(batcher, arrived=1.0)
    assert not threadless.settled, "nobody is told in the middle of submit"
    await asyncio.sleep(0)
    assert isinstance(failing.error, InferenceFailed)
    assert isinstance(threadless.error, InferenceFailed)
    assert (tally.failures["BACKEND"], tally.execution_count, tally.pending) == (2, LONELY, 0)


async def test_who_leaves_while_it_runs_alone_is_not_counted_as_answered():
    tally, slot = Tally(), Slot()
    batcher = make(slot, tally=tally)
    await one_after_another(batcher, slot)
    ticket = ask(batcher, arrived=1.0)
    batcher.leave(ticket, ServingError("gone"))
    slot.end()
    assert (tally.success.count, tally.execution_count, tally.pending) == (0, LONELY + 1, 0)
    await batcher.close(1)


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.integers(1, 8), st.sampled_from([1, 1, 1, 1, 1, 3])), min_size=1, max_size=150),
    st.sampled_from([None, 0.05]),
)
async def test_a_tally_that_nobody_reads_for_long_says_what_one_says_that_is_read_all_the_time(asked, target):
    """The first reads after each round, so nothing is noted for long; the second at the end."""
    figures = []
    for is_read in (True, False):
        tally, slot, clock = Tally(), Slot(), ticking()
        batcher = make(slot, tally=tally, clock=clock, latency_target_s=target)
        for rows, requests in asked:
            for _ in range(requests):
                ask(batcher, rows=rows, arrived=clock() / 1e9)
            for _ in range(requests + 1):
                await asyncio.sleep(0)
                slot.end()
            assert not is_read or tally.runs.execution_count
        now = clock()
        seen = {name: _plain(getattr(tally, name), now) for name in COMPARED}
        figures.append({**seen, "small": tally.small, "pending": tally.pending})
    often, once = figures
    assert often.pop("pressure") == pytest.approx(once.pop("pressure"))
    assert often == once


COMPARED = [name for name in RunCounts.__slots__ if name != "last_inference"]
"""That is by the clock on the wall."""


def _plain(value: object, now: int) -> object:
    """Totals to a nanosecond: batches may be counted before lone runs that ended sooner."""
    if isinstance(value, Histogram):
        return value.counts, round(value.total, 9)
    return value.read(now) if isinstance(value, Pressure) else value
