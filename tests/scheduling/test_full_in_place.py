"""A full batch of a model of microseconds does not wait until all requests of a turn have come."""

import asyncio

from server.scheduling.queue import Level
from tests.scheduling.test_batcher import Caller, DoublingSlot, make_batcher

TWO_LEVELS = (Level(max_size=100), Level(max_size=100))


async def known_to_be_short(slot, **facts):
    """A batcher whose runs are done in place: it has seen one of every size."""
    batcher = make_batcher(slot, **facts)
    for rows in (1, 2, 4, 8, 1):
        await Caller(batcher, [0.0] * rows).answer()
    slot.batches.clear()
    return batcher


async def test_a_batch_that_is_full_is_run_before_the_next_request_joins():
    slot = DoublingSlot()
    batcher = await known_to_be_short(slot)
    callers = [Caller(batcher, [value]) for value in range(20)]
    assert slot.batches == [[*range(8)], [*range(8, 16)]]  # and no turn of the loop is over yet
    assert [await caller.answer() for caller in callers] == [[2 * value] for value in range(20)]
    assert slot.batches[2:] == [[16, 17, 18, 19]]
    assert [caller.times_told for caller in callers] == [1] * 20


async def test_requests_of_several_rows_leave_as_many_as_fit():
    slot = DoublingSlot()
    batcher = await known_to_be_short(slot)
    callers = [Caller(batcher, [value] * 3) for value in range(6)]
    assert [await caller.answer() for caller in callers] == [[2 * value] * 3 for value in range(6)]
    assert [len(batch) for batch in slot.batches] == [6, 6, 6]


async def test_who_asks_anew_on_being_answered_waits_for_the_end_of_the_turn():
    """Else an answer within a run within an answer would go as deep as clients like."""
    slot = DoublingSlot()
    batcher = await known_to_be_short(slot)
    depth = deepest = asked = 0
    done = asyncio.get_running_loop().create_future()

    class Again(Caller):
        def _hear(self, ticket):
            nonlocal depth, deepest, asked
            depth += 1
            deepest = max(deepest, depth)
            asked += 1
            if asked < 2000:
                Again(batcher, [float(asked)])
            elif not done.done():
                done.set_result(None)
            depth -= 1

    for value in range(40):
        Again(batcher, [float(value)])
    await asyncio.wait_for(done, 10)
    assert deepest <= 2
    assert max(len(batch) for batch in slot.batches) == 8


async def test_a_model_that_is_not_short_any_more_fills_its_queue_until_the_end_of_the_turn():
    slot = DoublingSlot()
    batcher = await known_to_be_short(slot)
    batcher._pace.note(8, 20_000_000)
    callers = [Caller(batcher, [value]) for value in range(20)]
    assert not slot.batches
    assert [await caller.answer() for caller in callers] == [[2 * value] for value in range(20)]


async def test_where_there_are_priorities_all_of_a_turn_are_looked_at_together():
    slot = DoublingSlot()
    batcher = await known_to_be_short(slot, levels=TWO_LEVELS, default_level=2)
    callers = [Caller(batcher, [value], priority=2) for value in range(12)]
    callers.append(Caller(batcher, [99], priority=1))
    for caller in callers:
        await caller.answer()
    assert slot.batches[0][0] == 99
