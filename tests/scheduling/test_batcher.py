"""The batcher as its callers know it: what goes together, who is told what, and what never happens."""

import asyncio
import gc
import threading
import time
import weakref
from collections import Counter
from contextlib import suppress
from copy import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.domain.errors import (
    DeadlineExceeded,
    InferenceFailed,
    QueueFull,
    RequestCancelled,
    ServerStopping,
    TooLate,
)
from server.observe.tally import Tally
from server.scheduling.batcher import Batcher
from server.scheduling.plan import Plan
from server.scheduling.queue import Level
from server.scheduling.resources import NO_NEEDS
from server.scheduling.rule import BatchRule
from server.scheduling.ticket import Ticket
from server.scheduling.turns import Turns


class DoublingSlot:
    """A model that doubles its input, holds until told, and remembers its batches."""

    device = "cpu"
    needs = NO_NEEDS
    priority = 0

    def __init__(self, hold: bool = False) -> None:
        self.batches: list[list[float]] = []
        self.gate = threading.Event()
        if not hold:
            self.gate.set()

    def run(self, inputs):
        self.batches.append(inputs["X"][:, 0].tolist())
        if (inputs["X"] < 0).any():
            raise RuntimeError("negative numbers upset this model")
        return {"Y": inputs["X"] * 2}

    def start(self, work, done):
        loop = asyncio.get_running_loop()

        def run():
            self.gate.wait(10)
            work()
            with suppress(RuntimeError):  # the test is over, and its loop with it
                loop.call_soon_threadsafe(done)

        threading.Thread(target=run).start()


class Caller:
    def __init__(self, batcher: Batcher, values: list[float], **facts) -> None:
        self._told = asyncio.get_running_loop().create_future()
        rows = np.array(values, np.float32).reshape(-1, 1)
        if "width" in facts:
            rows = np.repeat(rows, facts.pop("width"), axis=1)
        self.times_told = 0
        self.ticket = Ticket({"X": rows}, len(values), self._hear, **facts)
        self._batcher = batcher
        batcher.submit(self.ticket)

    def _hear(self, ticket: Ticket) -> None:
        self.times_told += 1
        self._told.set_result(ticket)

    def leave(self) -> None:
        self._batcher.leave(self.ticket, RequestCancelled("m"))

    async def answer(self) -> list[float]:
        ticket = await asyncio.wait_for(asyncio.shield(self._told), 5)
        if ticket.error is not None:
            raise ticket.error
        return ticket.outputs["Y"][:, 0].tolist()


EIGHT_ROWS = BatchRule(max_batch_size=8)


def make_batcher(
    slot,
    *,
    slots=1,
    rule: BatchRule | None = EIGHT_ROWS,
    max_queue_size=100,
    in_place=True,
    tally=None,
    turns=None,
    **facts,
):
    facts = {"levels": (Level(max_size=max_queue_size),), **facts}
    return Batcher(
        model="m",
        version=1,
        plan=Plan(batches=True, rule=rule, **facts),
        slots=slots if isinstance(slots, list) else [slot, *(copy(slot) for _ in range(slots - 1))],
        in_place=in_place,
        tally=tally or Tally(),
        turns=turns,
    )


async def test_requests_of_one_turn_leave_together_and_each_gets_its_own_rows():
    slot = DoublingSlot()
    batcher = make_batcher(slot)
    callers = [Caller(batcher, [1, 2]), Caller(batcher, [3]), Caller(batcher, [4, 5, 6])]
    assert [await caller.answer() for caller in callers] == [[2, 4], [6], [8, 10, 12]]
    assert slot.batches == [[1, 2, 3, 4, 5, 6]]


async def test_what_a_request_brought_along_is_freed_with_its_answer_not_by_the_collector():
    batcher = make_batcher(DoublingSlot())
    caller = Caller(batcher, [1, 2])
    brought = weakref.ref(caller.ticket.inputs["X"])
    gc.disable()
    try:
        assert await caller.answer() == [2, 4]
        del caller
        await asyncio.sleep(0)
        assert brought() is None
    finally:
        gc.enable()


async def test_while_one_batch_runs_the_next_one_forms():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot)
    first = Caller(batcher, [1])
    await asyncio.sleep(0.01)
    later = [Caller(batcher, [value]) for value in (2, 3, 4)]
    await asyncio.sleep(0.01)
    slot.gate.set()
    assert [await caller.answer() for caller in [first, *later]] == [[2], [4], [6], [8]]
    assert slot.batches == [[1], [2, 3, 4]]


async def test_a_caller_who_leaves_does_not_harm_its_batch():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot)
    await_first = Caller(batcher, [0])
    await asyncio.sleep(0.01)
    one, leaver, two = Caller(batcher, [1]), Caller(batcher, [2]), Caller(batcher, [3])
    leaver.leave()
    slot.gate.set()
    assert await await_first.answer() == [0]
    assert [await one.answer(), await two.answer()] == [[2], [6]]
    with pytest.raises(RequestCancelled):
        await leaver.answer()
    assert slot.batches == [[0], [1, 3]], "the work of a caller who left in time is not done"


async def test_a_caller_who_leaves_in_mid_run_does_not_harm_its_batch():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot)
    one, leaver, two = Caller(batcher, [1]), Caller(batcher, [2]), Caller(batcher, [3])
    await asyncio.sleep(0.01)
    leaver.leave()
    slot.gate.set()
    assert [await one.answer(), await two.answer()] == [[2], [6]]
    assert leaver.times_told == 1


async def test_one_poisonous_request_fails_alone():
    batcher = make_batcher(DoublingSlot())
    good, bad, fine = Caller(batcher, [1]), Caller(batcher, [-1]), Caller(batcher, [3])
    assert [await good.answer(), await fine.answer()] == [[2], [6]]
    with pytest.raises(InferenceFailed, match="negative numbers"):
        await bad.answer()
    assert await Caller(batcher, [5]).answer() == [10], "the loop goes on"


async def test_requests_of_different_shapes_go_into_different_runs():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot)
    block = Caller(batcher, [0])
    await asyncio.sleep(0.01)
    narrow = [Caller(batcher, [value], lane=(("X", (1,)),)) for value in (1, 2)]
    wide = [Caller(batcher, [value], lane=(("X", (2,)),), width=2) for value in (3, 4)]
    more = Caller(batcher, [5], lane=(("X", (1,)),))
    slot.gate.set()
    for caller in [block, *narrow, *wide, more]:
        await caller.answer()
    assert slot.batches == [[0], [1, 2, 5], [3, 4]]


async def test_a_full_queue_refuses_and_says_how_many_wait():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot, max_queue_size=2)
    running = Caller(batcher, [0])
    await asyncio.sleep(0.01)
    waiting = [Caller(batcher, [1]), Caller(batcher, [2])]
    with pytest.raises(QueueFull, match=r"Exceeds maximum queue size.*2 requests"):
        Caller(batcher, [3])
    waiting[0].leave()
    late = Caller(batcher, [4])
    slot.gate.set()
    assert [await c.answer() for c in (running, waiting[1], late)] == [[0], [4], [8]]


async def test_expired_work_is_never_run_and_its_caller_hears_in_time():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot)
    running = Caller(batcher, [0])
    await asyncio.sleep(0.01)
    doomed = Caller(batcher, [1], deadline=time.monotonic() + 0.05)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await doomed.answer()
    assert time.monotonic() - began < 1.0
    slot.gate.set()
    await running.answer()
    assert slot.batches == [[0]]


async def test_a_deadline_that_passes_in_mid_run_is_told_at_once():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot)
    caller = Caller(batcher, [0], deadline=time.monotonic() + 0.05)
    with pytest.raises(DeadlineExceeded):
        await caller.answer()
    slot.gate.set()


async def test_the_delay_gathers_company_and_then_ends():
    slot = DoublingSlot()
    batcher = make_batcher(slot, rule=BatchRule(max_batch_size=8, max_queue_delay_us=50_000))
    first = Caller(batcher, [1])
    await asyncio.sleep(0.01)
    second = Caller(batcher, [2])
    assert [await first.answer(), await second.answer()] == [[2], [4]]
    assert slot.batches == [[1, 2]]


async def test_without_dynamic_batching_each_request_runs_alone():
    slot = DoublingSlot()
    batcher = make_batcher(slot, rule=None)
    callers = [Caller(batcher, [1, 2]), Caller(batcher, [3])]
    assert [await caller.answer() for caller in callers] == [[2, 4], [6]]
    assert slot.batches == [[1, 2], [3]]


async def test_a_model_that_loses_rows_is_said_to():
    class Losing(DoublingSlot):
        def run(self, inputs):
            return {"Y": inputs["X"][:1]}

    batcher = make_batcher(Losing())
    with pytest.raises(InferenceFailed, match="for a batch of 2 rows"):
        await Caller(batcher, [1, 2]).answer()


async def test_closing_answers_what_is_queued_and_takes_nothing_new():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot)
    running, queued = Caller(batcher, [1]), None
    await asyncio.sleep(0.01)
    queued = Caller(batcher, [2])
    closing = asyncio.create_task(batcher.close(5))
    await asyncio.sleep(0.01)
    with pytest.raises(ServerStopping):
        Caller(batcher, [3])
    slot.gate.set()
    await closing
    assert [await running.answer(), await queued.answer()] == [[2], [4]]


async def test_closing_in_haste_leaves_nobody_waiting():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot)
    running = Caller(batcher, [1])
    await asyncio.sleep(0.01)
    queued = Caller(batcher, [2])
    await batcher.close(0.01)
    for caller in (running, queued):
        with pytest.raises(ServerStopping):
            await caller.answer()
    slot.gate.set()


async def test_more_slots_take_at_once_what_waits_for_one():
    slow, fresh = DoublingSlot(hold=True), DoublingSlot()
    batcher = make_batcher(slow)
    first = Caller(batcher, [1])
    await asyncio.sleep(0.01)
    second = Caller(batcher, [2])
    batcher.resize([slow, fresh])
    assert await second.answer() == [4]
    assert fresh.batches == [[2]]
    slow.gate.set()
    assert await first.answer() == [2]


async def test_a_slot_that_is_taken_away_ends_its_run_and_begins_no_other():
    going, staying = DoublingSlot(hold=True), DoublingSlot()
    batcher = make_batcher(going)
    first = Caller(batcher, [1])
    await asyncio.sleep(0.01)
    batcher.resize([staying])
    assert await Caller(batcher, [2]).answer() == [4]
    going.gate.set()
    assert await first.answer() == [2]
    for value in (3, 4, 5):
        assert await Caller(batcher, [value]).answer() == [2 * value]
    assert going.batches == [[1]]
    await batcher.close(5)


async def test_the_counts_add_up():
    tally = Tally()
    slot = DoublingSlot()
    batcher = Batcher(
        model="m",
        version=1,
        plan=Plan(batches=True, rule=BatchRule(max_batch_size=8)),
        slots=[slot],
        in_place=True,
        tally=tally,
    )
    for caller in [Caller(batcher, [1, 2]), Caller(batcher, [3])]:
        await caller.answer()
    assert (tally.inference_count, tally.execution_count, tally.pending) == (3, 1, 0)
    assert tally.queue.count == tally.compute_infer.count == 2
    assert tally.batches[3].compute_infer.count == 1
    assert sum(tally.rows.counts) == 1
    assert sum(tally.queue_s.counts) == 2


async def blocked(batcher: Batcher) -> Caller:
    """A caller whose run holds the only slot until the gate opens."""
    caller = Caller(batcher, [0])
    await asyncio.sleep(0.01)
    return caller


def fill(batcher: Batcher, refusal: type[Exception], **facts) -> int:
    """Ask until somebody is refused so; how many were not."""
    for number in range(10):
        try:
            Caller(batcher, [2], **facts)
        except refusal:
            return number
    raise AssertionError("nobody was refused")


TWO_LEVELS = (Level(max_size=100), Level(max_size=100))


async def test_a_high_priority_goes_before_those_who_came_sooner():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot, rule=None, levels=TWO_LEVELS, default_level=2)
    first = await blocked(batcher)
    low, none, high = (Caller(batcher, [value], priority=level) for value, level in ((2, 2), (3, 0), (1, 1)))
    slot.gate.set()
    for caller in (first, low, none, high):
        await caller.answer()
    assert slot.batches == [[0], [1], [2], [3]]


async def test_one_that_waits_longer_than_its_level_allows_is_refused_but_a_run_is_not_cut_short():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot, levels=(Level(max_size=100, timeout_ns=50_000_000),))
    first = await blocked(batcher)
    late = Caller(batcher, [1])
    with pytest.raises(DeadlineExceeded):
        await late.answer()
    assert not first.ticket.settled
    slot.gate.set()
    assert await first.answer() == [0]
    assert slot.batches == [[0]]


async def test_one_that_is_only_delayed_goes_after_those_who_are_in_time():
    slot = DoublingSlot(hold=True)
    level = Level(max_size=100, timeout_ns=50_000_000, delays=True)
    batcher = make_batcher(slot, rule=None, levels=(level,))
    first = await blocked(batcher)
    delayed = Caller(batcher, [1])
    await asyncio.sleep(0.1)
    fresh = Caller(batcher, [2])
    slot.gate.set()
    for caller in (first, delayed, fresh):
        await caller.answer()
    assert slot.batches == [[0], [2], [1]]


async def test_a_queue_that_holds_too_many_bytes_refuses_and_says_so():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot, max_queue_bytes=8)
    first = await blocked(batcher)
    waiting = Caller(batcher, [1, 2])
    with pytest.raises(QueueFull, match=r"with 8 bytes of inputs, of 8 that may wait"):
        Caller(batcher, [3])
    slot.gate.set()
    assert [await first.answer(), await waiting.answer()] == [[0], [2, 4]]


async def test_a_client_that_fills_the_queue_makes_room_for_another():
    slot, tally = DoublingSlot(hold=True), Tally()
    batcher = make_batcher(slot, max_queue_size=2, fair_clients=True, tally=tally)
    first = await blocked(batcher)
    greedy = [Caller(batcher, [value], client="greedy") for value in (1, 2)]
    modest = Caller(batcher, [3], client="modest")
    with pytest.raises(QueueFull):
        await greedy[1].answer()
    with pytest.raises(QueueFull):
        Caller(batcher, [4], client="greedy")
    slot.gate.set()
    assert [await caller.answer() for caller in (first, greedy[0], modest)] == [[0], [2], [6]]
    assert (tally.refused["share"], tally.refused["requests"], tally.pending) == (1, 1, 0)


async def test_where_order_is_kept_a_run_that_overtook_another_waits_for_it():
    slow, fast = DoublingSlot(hold=True), DoublingSlot()
    batcher = make_batcher(slow, slots=[slow, fast], rule=None, preserve_ordering=True)
    order: list[int] = []
    callers = [Caller(batcher, [value]) for value in (1, 2, 3)]
    hearing = [asyncio.create_task(heard(caller, number, order)) for number, caller in enumerate(callers)]
    await asyncio.sleep(0.05)
    assert (fast.batches, order) == ([[2], [3]], [])
    slow.gate.set()
    await asyncio.gather(*hearing)
    assert order == [0, 1, 2]


async def heard(caller: Caller, number: int, order: list[int]) -> None:
    await caller.answer()
    order.append(number)


async def test_more_slots_are_used_at_once_and_a_run_ends_on_one_that_is_gone():
    old, new = DoublingSlot(hold=True), DoublingSlot()
    batcher = make_batcher(old, rule=None)
    first = await blocked(batcher)
    second = Caller(batcher, [1])
    batcher.resize([new])
    assert await second.answer() == [2]
    old.gate.set()
    assert await first.answer() == [0]
    assert await Caller(batcher, [5]).answer() == [10]
    assert (old.batches, new.batches) == ([[0]], [[1], [5]])


async def test_over_a_latency_target_a_request_that_cannot_be_on_time_is_refused_with_the_wait():
    slot = DoublingSlot(hold=True)
    tally = Tally()
    batcher = make_batcher(slot, rule=None, in_place=False, tally=tally)
    batcher.profile.note(1, 800_000_000, "cpu")
    batcher.latency_target_s = 2.0
    first = await blocked(batcher)
    second = Caller(batcher, [1])
    with pytest.raises(TooLate, match=r"in \d+ ms, and its latency target is 2000 ms") as refused:
        Caller(batcher, [2])
    assert 0 <= refused.value.retry_after_s < 1
    assert tally.refused["late"] == 1
    batcher.latency_target_s = None
    third = Caller(batcher, [3])
    slot.gate.set()
    assert [await caller.answer() for caller in (first, second, third)] == [[0], [2], [6]]


async def test_one_that_would_be_late_by_itself_is_tried_now_and_then():
    batcher = make_batcher(DoublingSlot(), in_place=False)
    batcher.profile.note(1, 500_000_000, "cpu")
    batcher.latency_target_s = 0.1
    assert await Caller(batcher, [1]).answer() == [2], "it may be faster by now"


async def test_why_batches_left_and_why_they_were_small_is_counted():
    tally, slot = Tally(), DoublingSlot(hold=True)
    batcher = make_batcher(slot, tally=tally, rule=BatchRule(max_batch_size=2))
    first = await blocked(batcher)
    more = [Caller(batcher, [value], lane=lane) for value, lane in ((1, None), (2, None), (3, (1,)))]
    slot.gate.set()
    for caller in (first, *more):
        await caller.answer()
    assert {why: count for why, count in tally.left.items() if count} == {"idle": 2, "full": 1}
    assert {why: count for why, count in tally.small.items() if count} == {"alone": 2}


async def test_a_deadline_that_has_passed_before_the_batcher_could_look_holds_nobody_up():
    slot = DoublingSlot()
    batcher = make_batcher(slot)
    doomed = Caller(batcher, [1], deadline=time.monotonic() + 0.01)
    patient = Caller(batcher, [2], deadline=time.monotonic() + 60)
    time.sleep(0.05)  # noqa: ASYNC251  # something else has the loop meanwhile
    with pytest.raises(DeadlineExceeded):
        await doomed.answer()
    assert await patient.answer() == [4]
    assert slot.batches == [[2]]


async def test_nobody_gives_way_to_one_that_would_not_fit_all_the_same():
    slot, tally = DoublingSlot(hold=True), Tally()
    batcher = make_batcher(slot, max_queue_bytes=12, fair_clients=True, tally=tally)
    first = await blocked(batcher)
    greedy = [Caller(batcher, [value], client="greedy") for value in (1, 2, 3)]
    with pytest.raises(QueueFull):
        Caller(batcher, [4, 5, 6], client="modest")
    slot.gate.set()
    assert [await caller.answer() for caller in (first, *greedy)] == [[0], [2], [4], [6]]
    assert (tally.refused["share"], tally.pending) == (0, 0)


async def test_who_waits_as_a_target_is_taken_away_goes_before_those_who_come_later():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot, rule=None, in_place=False)
    batcher.latency_target_s = 60
    first = await blocked(batcher)
    old = Caller(batcher, [1])
    batcher.latency_target_s = None
    new = Caller(batcher, [2])
    slot.gate.set()
    for caller in (first, old, new):
        await caller.answer()
    assert slot.batches == [[0], [1], [2]]


async def test_a_higher_priority_is_not_refused_for_those_whom_it_overtakes():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot, rule=None, in_place=False, levels=TWO_LEVELS, default_level=2)
    batcher.profile.note(1, 30_000_000, "cpu")
    batcher.latency_target_s = 0.1
    first = await blocked(batcher)
    assert fill(batcher, TooLate) == 2
    high = Caller(batcher, [3], priority=1)
    slot.gate.set()
    assert await high.answer() == [6]
    await first.answer()


async def test_a_quiet_client_is_not_refused_for_the_flood_of_another():
    slot = DoublingSlot(hold=True)
    batcher = make_batcher(slot, rule=None, in_place=False, fair_clients=True)
    batcher.profile.note(1, 600_000_000, "cpu")
    batcher.latency_target_s = 2.0
    first = Caller(batcher, [0], client="flood")
    await asyncio.sleep(0.01)
    assert fill(batcher, TooLate, client="flood") == 2
    quiet = Caller(batcher, [3], client="quiet")
    slot.gate.set()
    assert [await first.answer(), await quiet.answer()] == [[0], [6]]


async def test_a_run_that_failed_teaches_nothing():
    batcher = make_batcher(DoublingSlot(), in_place=False)
    with pytest.raises(InferenceFailed):
        await Caller(batcher, [-1]).answer()
    assert batcher.profile.learned("cpu") == {}


async def test_a_request_of_many_rows_to_a_model_that_does_not_batch_is_reckoned_with_all_of_them():
    batcher = make_batcher(DoublingSlot(), rule=None, in_place=False, request_rows=64)
    batcher.profile.note(1, 10_000_000, "cpu")
    batcher.profile.note(60, 600_000_000, "cpu")
    batcher.latency_target_s = 0.1
    assert await Caller(batcher, [1]).answer() == [2]
    with pytest.raises(TooLate, match=r"would answer in (29|30)\d ms"):
        Caller(batcher, [1] * 30)


async def test_answers_that_wait_for_another_take_places_and_keep_their_deadlines():
    slow, fast = DoublingSlot(hold=True), DoublingSlot()
    batcher = make_batcher(slow, slots=[slow, fast], rule=None, preserve_ordering=True, max_queue_size=3)
    first = Caller(batcher, [1])
    soon = Caller(batcher, [2], deadline=time.monotonic() + 0.1)
    with pytest.raises(DeadlineExceeded):
        await soon.answer()
    kept = []
    for value in range(3):
        kept.append(Caller(batcher, [value]))
        await asyncio.sleep(0.02)
    assert fill(batcher, QueueFull) == 0
    slow.gate.set()
    assert await first.answer() == [2]
    assert [await caller.answer() for caller in kept] == [[0], [2], [4]]


async def test_a_slot_that_cannot_start_fails_its_callers_and_nobody_else():
    class Threadless(DoublingSlot):
        def start(self, work, done):
            if not self.batches:
                self.batches.append([])
                raise RuntimeError("can't start new thread")
            super().start(work, done)

    batcher = make_batcher(Threadless(), in_place=False)
    with pytest.raises(InferenceFailed, match="can't start new thread"):
        await Caller(batcher, [1]).answer()
    assert await Caller(batcher, [2]).answer() == [4]


async def test_a_turn_that_nobody_wants_any_more_is_not_reckoned_with():
    turns = Turns()
    other = turns.device("cpu").seat(lambda: None, lambda: float("inf"))
    batcher = make_batcher(DoublingSlot(), rule=None, in_place=False, turns=turns)
    assert other.take(0)
    gone = Caller(batcher, [1])
    await asyncio.sleep(0.01)
    gone.leave()
    other.give_back(0)
    await asyncio.sleep(0.2)
    assert await Caller(batcher, [2]).answer() == [4]
    assert batcher._slots.turn_ns < 20_000_000


actions = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(1, 4), st.integers(1, 2)),
        st.tuples(st.just("leave"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("turn"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(actions, st.integers(1, 6).map(lambda size: max(size, 4)), st.integers(1, 3))
def test_whatever_happens_each_caller_is_told_once_and_gets_its_own_rows(script, max_batch_size, slots):
    async def play() -> None:
        slot = DoublingSlot()
        batcher = make_batcher(slot, slots=slots, rule=BatchRule(max_batch_size=max_batch_size))
        callers: list[tuple[Caller, list[float]]] = []
        left: set[int] = set()
        value = 0.0
        for what, number, width in script:
            if what == "join":
                values = [value + offset for offset in range(number)]
                value += number
                callers.append((Caller(batcher, values, lane=(width,), width=width), values))
            elif what == "leave" and number < len(callers):
                left.add(number)
                callers[number][0].leave()
            else:
                await asyncio.sleep(0)
        for number, (caller, values) in enumerate(callers):
            if number in left:
                with suppress(RequestCancelled):  # it may have been answered before it left
                    assert await caller.answer() == [2 * x for x in values]
            else:
                assert await caller.answer() == [2 * x for x in values]
            assert caller.times_told == 1
        ran = Counter(row for batch in slot.batches for row in batch)
        assert all(times == 1 for times in ran.values())
        assert all(len(batch) <= max_batch_size for batch in slot.batches)
        await batcher.close(5)

    asyncio.run(play())
