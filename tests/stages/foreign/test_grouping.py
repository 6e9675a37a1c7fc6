"""Who goes with whom in a call to another server."""

from hypothesis import given
from hypothesis import strategies as st

from server.stages.foreign.grouping import Asking, grouped

REQUESTS = st.lists(st.builds(Asking, st.integers(1, 9), st.sampled_from([None, "a", "b"])), max_size=30)


@given(REQUESTS, st.integers(0, 12))
def test_each_goes_once_and_those_of_one_manner_keep_their_order(requests, most_rows):
    groups = grouped(requests, most_rows)
    assert sorted(place for group in groups for place in group) == list(range(len(requests)))
    for manner in ("a", "b"):
        own = [place for group in groups for place in group if requests[place].manner == manner]
        assert own == sorted(own)


@given(REQUESTS, st.integers(0, 12))
def test_no_call_has_more_rows_than_the_server_takes_but_one_request_alone(requests, most_rows):
    for group in grouped(requests, most_rows):
        assert len(group) == 1 or sum(requests[place].rows for place in group) <= most_rows
        assert len({requests[place].manner for place in group}) == 1
        assert len(group) == 1 or requests[group[0]].manner is not None


def test_what_fits_goes_together():
    requests = [Asking(2, "a"), Asking(2, "b"), Asking(3, "a"), Asking(4, "a"), Asking(1, None)]
    assert grouped(requests, 8) == [[0, 2], [1], [3], [4]]
