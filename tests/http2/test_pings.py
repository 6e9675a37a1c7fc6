"""Who may ping whom: gRPC's proposals A8 and A9."""

import asyncio
from dataclasses import replace

import pytest

from server.http2 import frames
from server.http2.frames import ACK, GOAWAY, PING, frame
from server.http2.pings import AFTER_THE_LAST_S, IDLE_INTERVAL_S, Pings
from tests.http2.line import MANNERS, Line

STRICT = replace(MANNERS, ping_interval_s=10.0, most_strikes=2, most_pings=2)


def test_a_client_that_pings_too_often_has_two_strikes():
    pings = Pings(STRICT)
    assert [pings.came(now, has_calls=True) for now in (0, 10, 11, 12, 13)] == [True, True, True, True, False]


def test_an_answer_in_between_takes_all_strikes_away():
    pings = Pings(STRICT)
    for now in range(100):
        assert pings.came(now, has_calls=True)
        pings.forget()


def test_where_pings_without_calls_are_not_welcome_they_may_come_every_two_hours():
    pings = Pings(replace(STRICT, asks_idle=False, most_strikes=1))
    assert pings.came(0, has_calls=False)
    assert pings.came(IDLE_INTERVAL_S, has_calls=False)
    assert pings.came(IDLE_INTERVAL_S + 10, has_calls=True)
    assert pings.came(IDLE_INTERVAL_S + 20, has_calls=False)
    assert not pings.came(IDLE_INTERVAL_S + 30, has_calls=False)


def test_without_a_limit_anybody_may_ping():
    pings = Pings(replace(STRICT, most_strikes=0))
    assert all(pings.came(0, has_calls=True) for _ in range(100))


def test_a_silent_client_is_asked_twice_and_then_once_in_a_minute():
    pings = Pings(STRICT)
    assert [pings.may_ask(now) for now in (0, 1, 2, 3)] == [True, True, False, False]
    assert pings.may_ask(1 + AFTER_THE_LAST_S)
    assert not pings.may_ask(2 + AFTER_THE_LAST_S)
    pings.forget()
    assert pings.may_ask(3 + AFTER_THE_LAST_S)


def test_without_a_limit_it_is_asked_each_time():
    pings = Pings(MANNERS)
    assert all(pings.may_ask(0) for _ in range(100))


@pytest.mark.asyncio
async def test_who_pings_too_often_is_sent_away_in_grpcs_words():
    line = Line(manners=STRICT)
    line.feed(*(frame(PING, 0, 0, b"8 octets") for _ in range(4)))
    *answered, last = line.written()
    assert answered == [(PING, ACK, 0, b"8 octets")] * 3
    assert (last.kind, last.payload[4:]) == (
        GOAWAY,
        frames.ENHANCE_YOUR_CALM.to_bytes(4) + b"too_many_pings",
    )


@pytest.mark.asyncio
async def test_who_is_answered_may_ping_after_each_answer():
    line = Line(manners=STRICT)
    for number in range(20):
        line.feed(line.call(2 * number + 1, b""))
        line.connection.answer(2 * number + 1, b"answer")
        line.feed(frame(PING, 0, 0, b"8 octets"))
    assert not [each for each in line.written() if each.kind == GOAWAY]


@pytest.mark.asyncio
async def test_an_old_connection_is_told_to_go_and_cut_off_after_the_grace():
    line = Line(manners=replace(MANNERS, max_age_s=0.02, max_age_grace_s=0.05))
    line.feed(line.call(1, b""))
    await asyncio.sleep(0.04)
    assert [each.kind for each in line.written()] == [GOAWAY, PING]
    assert not line.transport.is_aborted
    await asyncio.sleep(0.1)
    assert line.transport.is_aborted
