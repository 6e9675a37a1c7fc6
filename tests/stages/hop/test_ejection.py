"""An endpoint that is there and does not do its work is left alone for a while, and for longer each time."""

import asyncio
from time import monotonic

from hypothesis import given
from hypothesis import strategies as st

from server.domain.errors import DeadlineExceeded
from server.domain.request import InferRequest
from server.stages.hop.ejection import FIRST_PAUSE_S, IN_A_ROW, LONGEST_PAUSE_S, Outlier
from tests.stages.hop.test_hedging import two
from tests.stages.hop.test_hop import BATCHING
from tests.stages.test_route import row
from tests.stages.tier import tier


def ejected(outlier: Outlier, now: float) -> float:
    """Until when it is left alone, after as many failures in a row as it takes."""
    for _ in range(IN_A_ROW - 1):
        assert not outlier.failed(now)
    assert outlier.failed(now)
    return outlier.until


def test_so_many_failures_in_a_row_put_it_out_and_one_that_went_well_begins_anew():
    outlier = Outlier()
    for _ in range(10):
        for _ in range(IN_A_ROW - 1):
            outlier.failed(10.0)
        assert not outlier.is_out(10.0)
        outlier.did_well(10.0)
    assert ejected(outlier, 20.0) == 20.0 + FIRST_PAUSE_S
    assert outlier.is_out(20.0 + FIRST_PAUSE_S - 0.01)
    assert not outlier.is_out(20.0 + FIRST_PAUSE_S)
    assert outlier.ejections == 1


def test_the_pause_grows_each_time_up_to_a_bound_and_is_short_again_after_it_did_well_for_as_long():
    outlier, now, pauses = Outlier(), 0.0, []
    for _ in range(8):
        until = ejected(outlier, now)
        pauses.append(until - now)
        now = until
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    outlier.did_well(now + 1)
    assert ejected(outlier, now + 2) - (now + 2) == LONGEST_PAUSE_S, "it did well for a moment"
    outlier.did_well(outlier.until + LONGEST_PAUSE_S + 1)
    now = outlier.until + LONGEST_PAUSE_S + 2
    assert ejected(outlier, now) - now == FIRST_PAUSE_S


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 20)), max_size=200))
def test_nobody_is_left_alone_for_longer_than_the_bound_or_without_failures(events):
    outlier, now, failures = Outlier(), 0.0, 0
    for well, later in events:
        now += later
        if well:
            outlier.did_well(now)
            failures = 0
        else:
            failures += 1
            if outlier.failed(now):
                assert failures >= IN_A_ROW
        assert outlier.until <= now + LONGEST_PAUSE_S


async def test_an_endpoint_that_answers_nothing_in_time_gets_nothing_new_while_another_does(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with two(at, pool, hedge_ms=None) as ends:
            ends.wire.is_dead = True
            late = [
                ends.here.ask(InferRequest("m", "", {"x": row(n, n)}, deadline=monotonic() + 1.2))
                for n in range(IN_A_ROW)
            ]
            failures = await asyncio.gather(*late, return_exceptions=True)
            assert {type(failure) for failure in failures} == {DeadlineExceeded}
            assert ends.to_first.outlier.is_out(monotonic())
            before = ends.to_first.carried
            for n in range(5):
                answer = await ends.here.ask(
                    InferRequest("m", "", {"x": row(n, n)}, deadline=monotonic() + 0.5)
                )
                assert answer.outputs["y"].tolist() == [[n + 1, n + 1]]
            assert ends.to_first.carried == before


async def test_who_is_left_alone_is_asked_all_the_same_where_there_is_nobody_else(shelf, pool):
    async with tier() as at:
        await at.serve(shelf.offer(shelf.put(), config=BATCHING))
        async with two(at, pool, hedge_ms=None) as ends:
            for link in (ends.to_first, ends.to_second):
                ejected(link.outlier, monotonic())
            answer = await ends.here.ask(x=row(3, 3))
            assert answer.outputs["y"].tolist() == [[4, 4]]
