"""Which endpoint a key leads to."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.stages.hop.affinity import MOST, Key, choose, ranked

ADDRESSES = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8, unique=True)
KEYS = st.builds(Key, st.text(), st.booleans())
WORK = st.dictionaries(st.text(min_size=1, max_size=20), st.integers(0, 1000), min_size=1, max_size=8)
ROWS = st.integers(0, 100)


def idle(addresses) -> dict[str, int]:
    return dict.fromkeys(addresses, 0)


@given(KEYS, WORK, ROWS, st.randoms())
def test_the_same_is_chosen_in_whatever_order_they_are_named(key, work, rows, random):
    shuffled = list(work.items())
    random.shuffle(shuffled)
    assert choose(key, work, rows) == choose(key, dict(shuffled), rows)


@given(KEYS, ADDRESSES)
def test_a_lost_endpoint_moves_its_own_keys_and_no_others(key, addresses):
    chosen = choose(key, idle(addresses), 1)
    assert chosen == ranked(key.text, addresses)[0]
    for lost in addresses[: len(addresses) - 1]:
        left = [address for address in addresses if address != lost]
        after = choose(key, idle(left), 1)
        assert after == (chosen if lost != chosen else ranked(key.text, addresses)[1])


@given(WORK, ROWS, st.text())
def test_a_sequence_stays_however_much_lies_there(work, rows, text):
    assert choose(Key(text, stays=True), work, rows) == ranked(text, list(work))[0]


@given(WORK, ROWS, st.text())
def test_a_key_that_may_move_adds_nothing_where_far_more_than_a_share_lies(work, rows, text):
    chosen = choose(Key(text), work, rows)
    bound = MOST * (sum(work.values()) + max(1, rows)) / len(work)
    before = ranked(text, list(work))
    assert work[chosen] < bound
    assert all(work[address] >= bound for address in before[: before.index(chosen)])


def test_keys_are_shared_out_evenly():
    shares = Counter(choose(Key(str(each)), idle("abcd"), 1) for each in range(4000))
    assert all(900 < shares[address] < 1100 for address in "abcd")


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({}, None),
        ({"priority": 1}, None),
        ({"sequence_id": 0, "sequence_start": True}, None),
        ({"sequence_id": ""}, None),
        ({"sequence_id": True}, None),
        ({"sequence_id": 7}, Key("sequence_id 7", stays=True)),
        ({"sequence_id": "a", "tercet-routing-key": "b"}, Key("sequence_id a", stays=True)),
        ({"tercet-routing-key": "user 7"}, Key("tercet-routing-key user 7")),
        ({"tercet-routing-key": 7}, Key("tercet-routing-key 7")),
        ({"tercet-routing-key": 1.5}, None),
    ],
)
def test_what_a_request_is_sent_by(parameters, key):
    assert Key.of(parameters) == key
