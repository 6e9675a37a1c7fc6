"""The stations of a model version, and the moves between them."""

from server.domain.state import LEGAL, State


def reachable(start: State) -> set[State]:
    found: set[State] = set()
    ahead = {start}
    while ahead:
        found |= ahead
        ahead = {after for before in ahead for after in LEGAL[before]} - found
    return found


def test_the_table_of_moves_says_of_every_state_where_it_leads():
    assert LEGAL.keys() == set(State)


def test_every_state_can_be_reached_and_none_is_a_trap():
    assert reachable(State.UNKNOWN) == set(State)
    for state in set(State) - {State.UNKNOWN}:
        assert State.READY in reachable(state)


def test_nothing_serves_that_was_not_loaded_first():
    assert {before for before in State if State.READY in LEGAL[before]} == {State.LOADING, State.READY}


def test_what_serves_finishes_its_requests_before_it_is_gone():
    assert LEGAL[State.READY] == {State.READY, State.UNLOADING}
    assert State.UNAVAILABLE in LEGAL[State.UNLOADING]


def test_no_version_becomes_unknown_again():
    assert State.UNKNOWN not in {after for moves in LEGAL.values() for after in moves}


def test_states_are_written_as_clients_of_the_repository_index_know_them():
    assert [str(state) for state in State] == ["UNKNOWN", "LOADING", "READY", "UNLOADING", "UNAVAILABLE"]
