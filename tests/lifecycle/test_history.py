"""What a model has been through, made of events alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.event import Event, What
from server.domain.history import MOST, SERVER_ENDED, Entries, ended, from_json, learned, to_json
from server.domain.state import State
from server.lifecycle.events import Chronicle, Counts

A, B = "content a", "content b"


class Past:
    """Events that a chronicle has told, and the entries after them. A second passes between any two."""

    def __init__(self) -> None:
        self.now = 0.0
        self.entries: Entries = ()
        self._chronicle = Chronicle(clock=self._tick, ticks=self._tick)
        self._chronicle.heard_by(self._hear)

    def _tick(self) -> float:
        self.now += 0.5
        return self.now

    def _hear(self, event: Event) -> None:
        self.entries = learned(self.entries, event)

    def tell(self, *whats: What, version: int = 1, content: str = A, reason: str = "", **counts: int) -> None:
        for what in whats:
            told = Counts(**counts) if counts else None
            self._chronicle.tell(what, "m", version, content, reason, told)


def test_an_entry_says_how_long_verifying_and_loading_took():
    past = Past()
    past.tell(What.SEEN)
    assert past.entries == ()  # it was neither served nor rejected so far
    past.tell(What.VERIFYING, What.LOADING, What.READY)
    (entry,) = past.entries
    assert (entry.version, entry.state, entry.verified_s, entry.loaded_s) == (1, State.READY, 1, 1)


def test_a_load_that_is_tried_again_was_not_verified():
    past = Past()
    past.tell(What.LOADING, What.LOADING, What.READY)
    assert past.entries[0].verified_s is None


def test_why_it_left_is_what_was_said_as_it_left():
    past = Past()
    past.tell(What.LOADING, What.READY)
    past.tell(What.ROLLED_BACK, reason="rolled back: it failed")
    past.tell(What.UNLOADED, reason="")
    assert (past.entries[0].state, past.entries[0].reason) == (State.UNAVAILABLE, "rolled back: it failed")
    past.tell(What.LOADING, What.READY)
    assert past.entries[0].reason == ""


def test_each_content_of_a_version_has_an_entry():
    past = Past()
    past.tell(What.LOADING, What.READY)
    past.tell(What.LOADING, content=B)
    past.tell(What.REJECTED, content=B, reason="no model")
    assert [entry.state for entry in past.entries] == [State.READY, State.UNAVAILABLE]
    assert past.entries[1].reason == "no model"


def test_new_instances_are_no_other_entry():
    past = Past()
    past.tell(What.LOADING, What.READY)
    past.tell(What.RESIZED, content=B)
    past.tell(What.UNLOADING, What.UNLOADED, content=B)
    (entry,) = past.entries
    assert entry.state is State.UNAVAILABLE


def test_requests_add_up_over_the_times_that_a_content_served():
    past = Past()
    for requests, failures in ((5, 1), (7, 2)):
        past.tell(What.LOADING, What.READY)
        past.tell(What.UNLOADING, What.UNLOADED, requests=requests, failures=failures)
    (entry,) = past.entries
    assert (entry.requests, entry.failures) == (7, 2)
    assert (entry.earlier_requests, entry.earlier_failures) == (5, 1)


def test_the_next_process_finds_that_what_served_does_so_no_more():
    past = Past()
    past.tell(What.LOADING, What.READY)
    past.tell(What.REJECTED, version=2, reason="no model")
    first, second = ended(past.entries)
    assert (first.state, first.reason) == (State.UNAVAILABLE, SERVER_ENDED)
    assert second.reason == "no model"


def test_only_so_many_entries_are_kept_and_the_oldest_goes():
    past = Past()
    for version in range(1, MOST + 3):
        past.tell(What.REJECTED, version=version)
    assert [entry.version for entry in past.entries] == list(range(3, MOST + 3))


steps = st.lists(
    st.tuples(st.sampled_from(What), st.integers(1, 3), st.sampled_from([A, B, ""])), max_size=30
)


@given(steps)
def test_whatever_happens_is_read_back_as_it_was_written(happened: list[tuple[What, int, str]]):
    past = Past()
    for what, version, content in happened:
        past.tell(what, version=version, content=content, reason="why", requests=1, failures=0)
    assert from_json(to_json(past.entries)) == past.entries


@pytest.mark.parametrize(
    "document", [None, {}, [1], [{}], [{"version": 1, "what": "sung", "state": "READY"}]]
)
def test_what_was_not_written_by_it_is_refused(document):
    with pytest.raises(ValueError):
        from_json(document)
