"""Which runs may be done in place."""

from server.scheduling.pace import FIRST_PROBATION, IN_PLACE_NS, SLOW_NS, Pace


def test_what_has_not_been_seen_is_not_done_in_place():
    assert not Pace().is_short(1)


def test_a_run_that_computes_for_microseconds_is_short_and_a_longer_one_is_not():
    pace = Pace()
    pace.note(1, computed_ns=20_000)
    pace.note(100, computed_ns=IN_PLACE_NS + 1)
    assert pace.is_short(1)
    assert not pace.is_short(100)


def test_sizes_between_two_powers_of_two_share_an_estimate():
    pace = Pace()
    pace.note(33, computed_ns=20_000)
    assert pace.is_short(63)
    assert not pace.is_short(64)


def test_a_shorter_run_is_believed_at_once_and_a_longer_one_slowly():
    pace = Pace()
    pace.note(1, computed_ns=IN_PLACE_NS * 2)
    pace.note(1, computed_ns=20_000)
    pace.note(1, computed_ns=IN_PLACE_NS * 2)
    assert pace.is_short(1)
    for _ in range(200):
        pace.note(1, computed_ns=IN_PLACE_NS * 2)
    assert not pace.is_short(1)


def test_a_model_that_surprises_is_on_probation_for_longer_each_time():
    pace = Pace()
    for probation in (FIRST_PROBATION, 2 * FIRST_PROBATION):
        pace.note(1, computed_ns=20_000)
        assert pace.is_short(1)
        pace.note(1, computed_ns=SLOW_NS + 1)
        for _ in range(probation):
            assert not pace.is_short(1)
            pace.note(1, computed_ns=20_000)
        assert pace.is_short(1)
