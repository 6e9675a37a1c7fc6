from server.supervisor.state import LEGAL, SeatState


def test_the_table_has_every_state_and_every_seat_can_be_left():
    assert set(LEGAL) == set(SeatState)
    for state in SeatState:
        reached, edge = {state}, {state}
        while edge:
            edge = {following for each in edge for following in LEGAL[each]} - reached
            reached |= edge
        assert SeatState.GONE in reached
    assert LEGAL[SeatState.GONE] == frozenset()
