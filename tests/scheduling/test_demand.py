"""What a batcher tells of the demand on its slots."""

import asyncio
import gc
import weakref

import numpy as np
import pytest

from server.domain.errors import QueueFull, RequestCancelled
from server.observe.demand import Asked
from server.observe.tally import Tally
from server.scheduling.batcher import Batcher
from server.scheduling.plan import Plan
from server.scheduling.queue import Level
from server.scheduling.resources import NO_NEEDS
from server.scheduling.rule import BatchRule
from server.scheduling.ticket import Ticket
from server.scheduling.turns import Turns


class HeldSlot:
    """Its runs end when they are told to."""

    device = "cuda:0"
    needs = NO_NEEDS
    priority = 0

    def __init__(self) -> None:
        self.runs = []

    def run(self, inputs):
        return {"Y": inputs["X"]}

    def start(self, work, done):
        self.runs.append((work, done))

    def end_all(self) -> None:
        runs, self.runs = self.runs, []
        for work, done in runs:
            work()
            done()


def batcher_of(
    slot: HeldSlot, tally: Tally, *, rule: BatchRule | None, slots: int = 1, room: int = 2
) -> Batcher:
    return Batcher(
        model="m",
        version=1,
        plan=Plan(batches=True, rule=rule, levels=(Level(max_size=room),)),
        slots=[slot] * slots,
        in_place=False,
        tally=tally,
        turns=Turns(concurrency=3),
    )


def ask(batcher: Batcher, rows: int = 1) -> Ticket:
    ticket = Ticket({"X": np.zeros((rows, 1), np.float32)}, rows, lambda _: None)
    batcher.submit(ticket)
    return ticket


def told(tally: Tally) -> Asked:
    assert tally.of_model is not None
    return tally.of_model.read(1)[1]


def rows_asked(tally: Tally) -> float:
    asked = told(tally)
    return asked.number + asked.besides * asked.besides_each


async def test_who_runs_waits_is_refused_or_leaves_has_asked_and_counts_once():
    slot, tally = HeldSlot(), Tally()
    batcher = batcher_of(slot, tally, rule=None)
    ask(batcher)
    await asyncio.sleep(0)
    assert len(slot.runs) == 1
    leaver, _ = ask(batcher), ask(batcher)
    with pytest.raises(QueueFull):
        ask(batcher)
    assert rows_asked(tally) == 4
    batcher.leave(leaver, RequestCancelled("m"))
    assert rows_asked(tally) == 4
    slot.end_all()
    assert rows_asked(tally) == 4
    await asyncio.sleep(0)
    slot.end_all()
    assert rows_asked(tally) == 4


async def test_a_request_whose_run_fails_has_asked_too():
    slot, tally = HeldSlot(), Tally()
    batcher = batcher_of(slot, tally, rule=None)
    ask(batcher)
    slot.run = None  # whatever is wrong with the model
    await asyncio.sleep(0)
    slot.end_all()
    assert (tally.unserved, rows_asked(tally)) == (1, 1)


async def test_what_does_not_run_has_as_many_rows_as_what_does():
    slot, tally = HeldSlot(), Tally()
    batcher = batcher_of(slot, tally, rule=None)
    ask(batcher, rows=6)
    await asyncio.sleep(0)
    slot.end_all()
    ask(batcher, rows=6)
    assert rows_asked(tally) == 12


async def test_a_row_takes_what_it_takes_in_the_best_batch_that_was_seen():
    slot, tally = HeldSlot(), Tally()
    batcher = batcher_of(slot, tally, rule=BatchRule(max_batch_size=8), slots=2)
    assert told(tally) == Asked(0, 0.0, 2, "cuda:0", 3)
    batcher.profile.note(1, 10_000_000, "cuda:0")
    assert told(tally).each_ns == 10e6
    batcher.profile.note(8, 24_000_000, "cuda:0")
    assert told(tally).each_ns == 3e6


async def test_under_a_latency_target_only_batches_that_fit_into_it_count():
    slot, tally = HeldSlot(), Tally()
    batcher = batcher_of(slot, tally, rule=BatchRule(max_batch_size=8))
    for rows, ns in ((1, 10_000_000), (2, 12_000_000), (8, 24_000_000)):
        batcher.profile.note(rows, ns, "cuda:0")
    batcher.latency_target_s = 0.03
    assert told(tally).each_ns == 6e6
    batcher.latency_target_s = 0.001
    assert told(tally).each_ns == 10e6
    batcher.latency_target_s = None
    assert told(tally).each_ns == 3e6


async def test_where_no_batches_form_a_row_takes_what_it_takes_in_a_request_of_usual_size():
    slot, tally = HeldSlot(), Tally()
    batcher = batcher_of(slot, tally, rule=None)
    batcher.profile.note(1, 10_000_000, "cuda:0")
    batcher.profile.note(8, 24_000_000, "cuda:0")
    assert told(tally).each_ns == 10e6
    ask(batcher, rows=8)
    await asyncio.sleep(0)
    tally.runs.queue.count, tally.runs.inference_count = 1, 8
    assert told(tally).each_ns == 3e6


async def test_a_closed_batcher_tells_nothing_more_and_is_not_kept():
    slot, tally = HeldSlot(), Tally()
    batcher = batcher_of(slot, tally, rule=None)
    gone = weakref.ref(batcher)
    await batcher.close(0.01)
    assert tally.of_model is None
    del batcher
    gc.collect()
    assert gone() is None


async def test_one_that_is_closed_late_leaves_its_successor_in_place():
    """A version that comes back into memory goes on with its tally."""
    tally = Tally()
    first = batcher_of(HeldSlot(), tally, rule=None)
    second = batcher_of(HeldSlot(), tally, rule=None)
    demand = tally.of_model
    await first.close(0.01)
    assert tally.of_model is demand is not None
    await second.close(0.01)


async def test_who_was_refused_long_ago_asks_nothing_anew_when_requests_become_larger():
    slot, tally = HeldSlot(), Tally()
    batcher = batcher_of(slot, tally, rule=BatchRule(max_batch_size=8))
    tally.refused["requests"] = 1000
    before = told(tally)
    for rows in (1, 8):
        ask(batcher, rows)
        await asyncio.sleep(0)
        slot.end_all()
    after = told(tally)
    assert (after.number - before.number, after.besides_each) == (9, 4.5)
    assert after.besides == before.besides == 1000
