"""Who waits where, who goes together, and when there is no place."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.scheduling.queue import Full, Level, Queue
from server.scheduling.ticket import Ticket
from tests.scheduling.tickets import ticket

PLENTY = Level(max_size=1000)


def queue(*levels: Level, default_level: int = 1, max_bytes: int = 2**30, row_bytes: int = 16) -> Queue:
    return Queue(levels or (PLENTY,), default_level=default_level, max_bytes=max_bytes, row_bytes=row_bytes)


def waiting(line: Queue) -> list[list[Ticket]]:
    """The tickets of each candidate, in the order in which they would go."""
    return [[each for lane in candidate for each in lane] for candidate in line.candidates()]


def test_those_that_can_share_a_run_go_in_the_order_in_which_they_came():
    line, came = queue(), [ticket() for _ in range(3)]
    for each in came:
        assert line.join(each) is None
    assert waiting(line) == [came]
    assert line.take(line.candidates()[0], 2, 2) == came[:2]
    assert waiting(line) == [came[2:]]


def test_the_lane_whose_oldest_has_waited_longest_is_first():
    line = queue()
    wide, narrow, late = ticket(lane=(2,), queued=5), ticket(lane=(1,), queued=7), ticket(lane=(2,), queued=9)
    for each in (wide, narrow, late):
        line.join(each)
    assert waiting(line) == [[wide, late], [narrow]]


def test_a_higher_priority_goes_first_and_takes_lower_ones_along():
    line = queue(PLENTY, PLENTY)
    low, high = ticket(priority=2, queued=1), ticket(priority=1, queued=2)
    line.join(low)
    line.join(high)
    assert waiting(line) == [[high, low]]


def test_a_priority_that_is_not_there_is_the_default():
    line = queue(PLENTY, PLENTY, PLENTY, default_level=2)
    none, far, first = ticket(priority=0), ticket(priority=9), ticket(priority=1)
    for each in (none, far, first):
        line.join(each)
    assert waiting(line) == [[first, none, far]]


def test_each_level_has_its_own_bound():
    line = queue(Level(max_size=1), Level(max_size=2), default_level=2)
    assert line.join(ticket(priority=1)) is None
    assert line.join(ticket(priority=1)) is Full.REQUESTS
    assert [line.join(ticket(priority=2)) for _ in range(3)] == [None, None, Full.REQUESTS]


def test_bytes_are_bounded_but_one_request_alone_may_be_as_large_as_it_likes():
    line = queue(max_bytes=100)
    huge = ticket(rows=50)
    assert line.join(huge) is None
    assert line.join(ticket()) is Full.BYTES
    line.take(line.candidates()[0], 1, 50)
    assert line.bytes == 0
    assert [line.join(ticket(rows=3)) for _ in range(3)] == [None, None, Full.BYTES]


def test_strings_count_with_their_own_bytes():
    line = Queue((PLENTY,), default_level=1, max_bytes=100, row_bytes=0)
    strings = np.array([b"x" * 90, b"y" * 20], np.object_)
    assert line.join(Ticket({"S": strings}, 2, lambda _: None)) is None
    assert line.bytes == strings.nbytes + 110


def test_one_that_falls_behind_goes_after_those_of_its_level_and_before_the_next_level():
    line = queue(Level(max_size=10, timeout_ns=1, delays=True), PLENTY)
    late, fresh, low = ticket(priority=1), ticket(priority=1), ticket(priority=2)
    for each in (late, fresh, low):
        line.join(each)
    line.fall_behind(late)
    assert waiting(line) == [[fresh, late, low]]
    assert line.join(ticket(priority=1)) is None
    assert line.leave(late)
    assert line.size == 3


def test_a_lower_order_goes_sooner_whenever_it_came():
    line = queue()
    later, sooner, between = ticket(order=30), ticket(order=10), ticket(order=20)
    for each in (later, sooner, between):
        line.join(each)
    assert waiting(line) == [[sooner, between, later]]


def of(client: str) -> Ticket:
    made = ticket()
    made.client = client
    return made


def test_where_clients_share_a_queue_they_take_turns():
    line = Queue((PLENTY,), default_level=1, max_bytes=2**30, row_bytes=16, fair=True)
    for client in "aaaab":
        line.join(of(client))
    assert [each.client for each in waiting(line)[0]] == ["a", "b", "a", "a", "a"]
    taken = line.take(line.candidates()[0], 3, 3)
    assert [each.client for each in taken] == ["a", "b", "a"]


def test_the_newest_of_who_has_most_gives_way_in_a_full_queue():
    line = Queue((Level(max_size=3),), default_level=1, max_bytes=2**30, row_bytes=16, fair=True)
    many, few = [of("many") for _ in range(3)], of("few")
    for each in many:
        line.join(each)
    assert line.join(few) is Full.REQUESTS
    assert line.give_way(few) is many[-1]
    assert line.join(few) is None
    assert line.give_way(of("many")) is None, "who has most cannot push others out"


@pytest.mark.parametrize("levels", [(PLENTY,), (PLENTY, PLENTY)])
def test_one_that_was_taken_cannot_leave(levels):
    line, gone = queue(*levels), ticket()
    line.join(gone)
    line.take(line.candidates()[0], 1, 1)
    assert not line.leave(gone)
    assert (line.size, line.rows, line.bytes) == (0, 0, 0)


@st.composite
def scripts(draw):
    levels = draw(st.integers(1, 3))
    steps = st.one_of(
        st.tuples(st.just("join"), st.integers(1, 4), st.integers(1, 2), st.integers(0, levels)),
        st.tuples(st.just("leave"), st.integers(0, 40)),
        st.tuples(st.just("behind"), st.integers(0, 40)),
        st.tuples(st.just("take"), st.integers(0, 3), st.integers(1, 5)),
    )
    return levels, draw(st.lists(steps, max_size=40))


@given(scripts(), st.booleans())
def test_whatever_happens_the_counts_are_those_of_the_tickets_that_wait(script, delays):
    count, steps = script
    line = queue(*[Level(max_size=6, delays=delays, timeout_ns=1)] * count, max_bytes=300)
    here: list[Ticket] = []
    seen: list[Ticket] = []
    for step in steps:
        match step:
            case ("join", rows, lane, priority):
                one = ticket(rows=rows, lane=(lane,), priority=priority, queued=len(seen))
                seen.append(one)
                if line.join(one) is None:
                    here.append(one)
            case ("leave", number) if number < len(seen):
                assert line.leave(seen[number]) == (seen[number] in here)
                here = [each for each in here if each is not seen[number]]
            case ("behind", number) if delays and number < len(seen) and seen[number] in here:
                line.fall_behind(seen[number])
            case ("take", which, requests) if which < len(line.candidates()):
                candidate = line.candidates()[which]
                first = [each for lane in candidate for each in lane][:requests]
                assert line.take(candidate, len(first), sum(each.rows for each in first)) == first
                assert len({each.lane for each in first}) == 1
                here = [each for each in here if each not in first]
        assert sorted(map(id, line)) == sorted(map(id, here))
        assert line.size == len(here)
        assert line.rows == sum(each.rows for each in here)
        assert line.bytes == sum(each.rows * 16 for each in here) <= max(300, 64)
        assert sorted(id(each) for group in waiting(line) for each in group) == sorted(map(id, here))


def by_itself(line: Queue, one: Ticket) -> bool:
    """Have it take a place where it needs no look, as the batcher does; whether there was one."""
    if line.rows + one.rows > line.open_rows:
        return False
    line.newcomers.append(one)
    line.size += 1
    line.rows += one.rows
    return True


def test_who_takes_a_place_by_itself_stands_where_it_would_have_joined():
    line = queue()
    came = [ticket(order=order) for order in (2.0, 5.0, 3.0, 9.0)]
    line.join(came[0])
    assert [by_itself(line, each) for each in came[1:]] == [True, True, True]
    assert waiting(line) == [[came[0], came[2], came[1], came[3]]]


def test_as_many_may_take_a_place_by_themselves_as_have_one_for_certain():
    line = queue(Level(max_size=3))
    assert [by_itself(line, ticket()) for _ in range(4)] == [True, True, True, False]
    assert line.join(ticket()) is Full.REQUESTS
    line = queue(max_bytes=100)
    assert [by_itself(line, ticket(rows=2)) for _ in range(4)] == [True, True, True, False]
    assert line.join(ticket()) is Full.BYTES


@pytest.mark.parametrize(
    ("levels", "row_bytes"),
    [((PLENTY, PLENTY), 16), ((Level(max_size=9, timeout_ns=1),), 16), ((PLENTY,), 0)],
    ids=["levels", "timed", "bytes that rows do not tell"],
)
def test_nobody_takes_a_place_by_itself_where_there_is_something_to_look_at(levels, row_bytes):
    assert queue(*levels, row_bytes=row_bytes).open_rows == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("join"), st.booleans(), st.integers(1, 3), st.integers(0, 9)),
            st.tuples(st.just("leave"), st.integers(0, 30)),
            st.tuples(st.just("take"), st.integers(1, 5)),
        ),
        max_size=40,
    )
)
def test_a_queue_in_which_some_take_places_by_themselves_is_like_any_other(steps):
    bounds = {"max_bytes": 300}
    level = Level(max_size=8)
    ours, other = queue(level, **bounds), queue(level, **bounds)
    pairs: list[tuple[Ticket, Ticket]] = []
    for step in steps:
        match step:
            case ("join", glance, rows, order):
                pair = ticket(rows=rows, order=order), ticket(rows=rows, order=order)
                pairs.append(pair)
                placed = (glance and by_itself(ours, pair[0])) or ours.join(pair[0]) is None
                assert placed == (other.join(pair[1]) is None)
            case ("leave", number) if number < len(pairs):
                assert ours.leave(pairs[number][0]) == other.leave(pairs[number][1])
            case ("take", requests) if other.size:
                taken = []
                for line in (ours, other):
                    (candidate,) = line.candidates()
                    first = [each for lane in candidate for each in lane][:requests]
                    taken.append(line.take(candidate, len(first), sum(each.rows for each in first)))
                mine = {id(pair[0]): pair[1] for pair in pairs}
                assert [mine[id(each)] for each in taken[0]] == taken[1]
        assert (ours.size, ours.rows, ours.bytes) == (other.size, other.rows, other.bytes)
    assert len(list(ours)) == len(ours)
