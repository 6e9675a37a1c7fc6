"""How runs share a device: held against cases worked out by hand, and against its laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.sharing import Sharing


def all_ends(sharing: Sharing, now: int = 0) -> dict[int, int]:
    """Each run's number and end, when nobody joins any more."""
    ends = {}
    while (due := sharing.next_end()) is not None:
        ends |= dict.fromkeys(sharing.ended(due), due)
    return ends


def test_a_run_alone_takes_its_own_time():
    sharing = Sharing(1)
    number = sharing.join(100, 50)
    assert sharing.next_end() == 150
    assert sharing.ended(149) == []
    assert sharing.ended(150) == [number]
    assert sharing.next_end() is None


def test_two_runs_on_one_unit_take_twice_as_long():
    sharing = Sharing(1)
    runs = [sharing.join(0, 100), sharing.join(0, 100)]
    assert all_ends(sharing) == dict.fromkeys(runs, 200)


def test_two_runs_on_two_units_do_not_feel_each_other():
    sharing = Sharing(2)
    assert [sharing.join(0, 100), sharing.join(30, 100)] == [1, 2]
    assert all_ends(sharing) == {1: 100, 2: 130}


def test_a_short_run_halves_a_long_one_while_it_lasts():
    # The long one has 100 alone, then both halve until the short one's 50 are done at 200, then 850 alone.
    sharing = Sharing(1)
    long = sharing.join(0, 1000)
    short = sharing.join(100, 50)
    assert all_ends(sharing) == {short: 200, long: 1050}


def test_three_runs_on_two_units_each_go_at_two_thirds():
    # 60 of work each at 2/3: all end at 90.
    sharing = Sharing(2)
    runs = [sharing.join(0, 60) for _ in range(3)]
    assert sharing.pace == pytest.approx(2 / 3)
    assert all_ends(sharing) == dict.fromkeys(runs, 90)


def test_whoever_asks_late_hears_of_all_ends_as_they_were():
    # As above: the short one ends at 200 and the long one at 1050, though nobody looked until 2000.
    sharing = Sharing(1)
    long = sharing.join(0, 1000)
    short = sharing.join(100, 50)
    assert sharing.ended(2000) == [short, long]
    assert sharing.busy_ns == 1050


@given(
    units=st.integers(1, 4),
    joins=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=20),
)
def test_no_work_is_lost_and_no_run_is_faster_than_alone(units, joins):
    sharing = Sharing(units)
    ends: dict[int, int] = {}
    begun: dict[int, tuple[int, int]] = {}
    now = 0
    for wait, ns in joins:
        while (due := sharing.next_end()) is not None and due <= now + wait:
            ends |= dict.fromkeys(sharing.ended(due), due)
        now += wait
        begun[sharing.join(now, ns)] = now, ns
    ends |= all_ends(sharing)
    assert ends.keys() == begun.keys()
    for number, (at, ns) in begun.items():
        assert ends[number] >= at + ns - 1  # to the rounding of one nanosecond
    assert sharing.busy_ns == pytest.approx(sum(ns for _, ns in joins), abs=len(joins) * units)
    assert max(ends.values()) <= now + sum(ns for _, ns in joins) + len(joins)


def test_a_device_without_units_is_refused():
    with pytest.raises(ValueError, match="more than 0 units"):
        Sharing(0)
