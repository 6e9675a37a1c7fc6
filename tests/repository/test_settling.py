"""When files count as written: plain arithmetic over what was seen and when."""

from hypothesis import given
from hypothesis import strategies as st

from server.repository.settling import Sighting, moved_in, sight, wait_s
from server.repository.snapshot import Folder

TIMES = st.floats(0, 1e6)


def folder(mtime_ns: int, ctime_ns: int) -> Folder:
    return Folder(place="1", mtime_ns=mtime_ns, ctime_ns=ctime_ns, files={}, changed_ns=0)


def test_files_that_look_the_same_are_quiet_since_they_were_first_seen_so():
    first = sight(None, "a", now_s=10.0, age_s=0.0)
    assert sight(first, "a", now_s=12.0, age_s=0.0).quiet_s(12.0) == 2.0


def test_a_change_begins_the_wait_anew():
    first = sight(None, "a", now_s=10.0, age_s=0.0)
    assert sight(first, "b", now_s=12.0, age_s=50.0) == Sighting("b", 12.0)


def test_files_that_were_old_at_first_sight_have_been_quiet_all_the_while():
    assert sight(None, "a", now_s=10.0, age_s=60.0).quiet_s(10.0) == 60.0


def test_a_file_from_the_future_is_as_good_as_new():
    assert sight(None, "a", now_s=10.0, age_s=-60.0).quiet_s(10.0) == 0.0


def test_complete_files_are_waited_for_as_long_as_they_must_be_quiet():
    assert wait_s(quiet_s=0.25, settle_s=1.0, arrived_whole=False, complete=True) == 0.75
    assert wait_s(quiet_s=1.0, settle_s=1.0, arrived_whole=False, complete=True) == 0.0


def test_what_was_moved_in_is_not_waited_for():
    assert wait_s(quiet_s=0.0, settle_s=1.0, arrived_whole=True, complete=True) == 0.0


def test_a_file_that_is_not_complete_counts_as_broken_only_after_ten_times_the_quiet():
    assert wait_s(quiet_s=4.0, settle_s=1.0, arrived_whole=False, complete=False) == 6.0
    assert wait_s(quiet_s=4.0, settle_s=1.0, arrived_whole=True, complete=False) == 6.0
    assert wait_s(quiet_s=10.0, settle_s=1.0, arrived_whole=False, complete=False) == 0.0


def test_a_renamed_folder_is_known_by_its_times():
    assert moved_in(folder(mtime_ns=5, ctime_ns=9), files_changed_ns=7)
    assert not moved_in(folder(mtime_ns=5, ctime_ns=9), files_changed_ns=9), "written after the move"
    assert not moved_in(folder(mtime_ns=9, ctime_ns=9), files_changed_ns=7), (
        "a file was made or removed in it"
    )


@given(now=TIMES, age=TIMES, settle=st.floats(0.01, 10), whole=st.booleans(), complete=st.booleans())
def test_after_the_wait_nothing_is_left_to_wait_for(
    now: float, age: float, settle: float, whole: bool, complete: bool
):
    quiet = sight(None, "a", now, age).quiet_s(now)
    wait = wait_s(quiet, settle, whole, complete)
    assert wait >= 0
    assert wait_s(quiet + wait + 1e-6, settle, whole, complete) == 0
