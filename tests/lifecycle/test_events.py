"""The chronicle: what it tells of each content, how it is read, and what it leaves behind."""

import asyncio
from itertools import count

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from server.domain.event import Event, What
from server.domain.state import State
from server.lifecycle.events import Chronicle, Counts, short

LIFE = (What.SEEN, What.VERIFYING, What.LOADING, What.READY, What.UNLOADING, What.UNLOADED)


def chronicle(kept: int = 100) -> Chronicle:
    """A second passes between any two looks at its clock."""
    return Chronicle(kept=kept, clock=lambda: 1000.0, ticks=count().__next__)


def told(events: Chronicle, *whats: What, model: str = "m", content: str = "a") -> Chronicle:
    for what in whats:
        events.tell(what, model, 1, content)
    return events


def test_each_event_says_from_which_state_its_content_came_and_how_long_that_took():
    events = told(chronicle(), *LIFE).latest(10).events
    assert [event.what for event in events] == list(LIFE)
    assert [event.was for event in events][1:] == [event.now for event in events][:-1]
    assert (events[0].was, events[-1].now) == (State.UNKNOWN, State.UNAVAILABLE)
    assert [event.duration_s for event in events] == [None, 1, 1, 1, 1, 1]


def test_new_content_of_a_version_has_a_life_of_its_own():
    events = told(chronicle(), What.LOADING, What.READY)
    told(events, What.LOADING, content="b")
    told(events, What.REJECTED, content="b")
    *_, loading, rejected = events.latest(10).events
    assert (loading.was, rejected.was, rejected.now) == (State.UNKNOWN, State.LOADING, State.UNAVAILABLE)
    told(events, What.UNLOADING)
    assert events.latest(1).events[0].was is State.READY


def test_a_content_is_seen_once():
    events = chronicle()
    for content in ("a", "a", "b", "b"):
        events.see("m", 1, content)
    assert [event.content for event in events.latest(10).events] == [short("a"), short("b")]


def test_a_label_changes_no_state():
    events = told(chronicle(), What.READY, What.LABELLED, What.UNLOADING).latest(10).events
    assert (events[1].was, events[1].now) == (State.READY, State.READY)
    assert events[2].duration_s == 2  # since it was ready


@given(st.integers(1, 20), st.integers(0, 60), st.integers(0, 60), st.integers(1, 30))
def test_a_reader_who_goes_on_where_it_was_gets_each_event_once_or_is_told_what_it_missed(
    kept: int, before: int, between: int, limit: int
):
    events = told(chronicle(kept), *[What.READY] * before)
    at = events.last
    told(events, *[What.READY] * between)
    had: list[int] = []
    missed = 0
    while True:
        page = events.since(at, limit)
        assert page.missed is not None
        missed += page.missed
        had += [event.sequence for event in page.events]
        at = page.last
        if not page.more:
            break
    assert missed == max(0, between - kept)
    assert had == list(range(events.last - between + 1 + missed, events.last + 1))


@pytest.mark.parametrize("number", [5, 10**18])
def test_a_number_of_another_process_is_answered_with_all_that_is_kept(number):
    events = told(chronicle(), What.READY, What.READY)
    page = events.since(number, 10)
    assert (len(page.events), page.missed, page.last) == (2, None, events.last)


def test_numbers_go_on_over_a_restart_however_many_events_a_start_tells():
    before = told(chronicle(), *[What.READY] * 20_000)
    after = told(Chronicle(kept=20_000, clock=lambda: 1005.0), *[What.READY] * 20_000)
    assert before.last < after.latest(20_000).oldest
    assert after.since(before.last, 10).missed is None


def test_a_hearer_who_fails_is_told_of_once_and_stops_nobody():
    events, heard = chronicle(), []

    def fails(event: Event) -> None:
        raise ValueError("deaf")

    events.heard_by(fails)
    events.heard_by(heard.append)
    with structlog.testing.capture_logs() as logs:
        told(events, What.READY, What.UNLOADING)
    assert [event.what for event in heard] == [What.READY, What.UNLOADING]
    assert [line["event"] for line in logs] == ["event_not_heard"]


def test_one_model_alone_can_be_read():
    events = told(chronicle(), What.READY, What.READY)
    told(events, What.READY, model="other")
    assert [event.model for event in events.latest(10, "other").events] == ["other"]
    page = events.since(0, 10, "other")
    assert ([event.model for event in page.events], page.last) == (["other"], events.last)


async def test_who_waits_is_woken_by_what_happens_and_not_before():
    events = chronicle()
    waiting = asyncio.ensure_future(events.after(events.last))
    await asyncio.sleep(0)
    assert not waiting.done()
    told(events, What.READY)
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(events.after(events.last - 1), 1)


def test_what_goes_says_what_it_has_answered():
    events = chronicle()
    events.tell(What.UNLOADED, "m", 1, "a", counts=Counts(7, 2))
    assert (events.latest(1).events[0].requests, events.latest(1).events[0].failures) == (7, 2)


def test_passages_count_what_happened_but_not_what_only_lies_there():
    events = told(chronicle(), What.SEEN, What.READY, What.READY)
    assert events.passages.all()["m"].transitions == {"ready": 2}
    events.forget("m")
    assert events.passages.all() != {}  # it serves its last requests
    told(events, What.UNLOADING, What.UNLOADED)
    assert events.latest(1).events[0].duration_s == 1
    assert events.passages.all() == {}
    events.see("m", 1, "a")
    assert events.latest(1).events[0].what is What.SEEN
