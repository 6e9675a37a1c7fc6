import itertools
from hashlib import sha256

import pytest

from server.domain.errors import NotAllowed, NotKnown, TooOften
from server.security.caller import Caller, Shown, shown_by
from server.security.calls import HEALTH, INFER, LOAD, METADATA, METRICS
from server.security.guard import REMEMBERED, Guard, Vouched
from server.security.keys import KeyRing
from server.security.rate import Rate
from server.security.rights import ALL, Right

NOBODY = Shown()
ASKS, ORDERS = frozenset({Right.INFERENCE}), frozenset({Right.CONTROL})


def ring(**callers: Caller) -> KeyRing:
    return KeyRing({sha256(key.encode()).digest(): caller for key, caller in callers.items()})


def bearer(key: str) -> Shown:
    return Shown(None, f"Bearer {key}".encode())


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Issuer:
    """Vouches for one token until a time."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.reads = 0

    def read(self, token: bytes, now: float) -> Vouched:
        self.reads += 1
        if token != b"good" or now >= self.until:
            raise NotKnown
        return Vouched(Caller("by token", ASKS), self.until)

    def lacks(self, token: bytes) -> bool:
        return False

    async def fetch(self) -> None:
        raise AssertionError("nothing is lacking")


def test_a_key_opens_what_its_rights_say():
    guard = Guard(frozenset(), keys=ring(a=Caller("asker", ASKS), o=Caller("operator", ORDERS)))
    assert guard.admit(INFER, bearer("a")).name == "asker"
    assert guard.admit(METADATA, bearer("o")).name == "operator"
    for call, key in ((LOAD, "a"), (METRICS, "a"), (INFER, "o"), (METRICS, "o")):
        with pytest.raises(NotAllowed):
            guard.admit(call, bearer(key))


@pytest.mark.parametrize(
    "shown",
    [
        bearer("wrong"),
        Shown(b"wrong", None),
        Shown(b"", None),
        Shown(None, b""),
        Shown(None, b"Basic a"),
        Shown(None, b"a"),
        Shown(None, b"Bearer"),
        Shown(b"wrong", b"Bearer a"),
        Shown(b"\xff\x00", None),
    ],
)
def test_what_is_no_key_makes_nobody_known_not_even_as_nobody(shown):
    guard = Guard(ALL, keys=ring(a=Caller("asker", ASKS)))
    with pytest.raises(NotKnown):
        guard.admit(INFER, shown)
    assert guard.admit(HEALTH, shown)


@pytest.mark.parametrize(
    "shown", [bearer("a"), Shown(b"a"), Shown(b" a "), Shown(None, b"bearer  a"), Shown(b"a", b"Basic b")]
)
def test_a_key_is_shown_by_either_header(shown):
    assert Guard(frozenset(), keys=ring(a=Caller("asker", ASKS))).admit(INFER, shown).name == "asker"


def test_who_shows_nothing_has_the_rights_of_the_anonymous():
    guard = Guard(ASKS, keys=ring(o=Caller("operator", ORDERS)))
    assert guard.admit(INFER, NOBODY).name == "anonymous"
    with pytest.raises(NotKnown):
        guard.admit(LOAD, NOBODY)


def test_where_nothing_is_asked_for_what_is_shown_is_meant_for_somebody_else():
    guard = Guard(ASKS)
    assert guard.admit(INFER, bearer("a proxy's")).name == "anonymous"
    with pytest.raises(NotKnown):
        guard.admit(LOAD, bearer("a proxy's"))


def test_health_is_open_to_everybody():
    assert Guard(frozenset(), keys=ring()).admit(HEALTH, bearer("wrong"))


def test_keys_that_are_brought_count_from_then_on_and_no_others():
    guard = Guard(frozenset(), keys=ring(old=Caller("x", ASKS), both=Caller("y", ASKS)))
    guard.admit(INFER, bearer("old"))
    guard.bring(ring(new=Caller("x", ASKS), both=Caller("y", ORDERS)))
    guard.admit(INFER, bearer("new"))
    with pytest.raises(NotKnown):
        guard.admit(INFER, bearer("old"))
    with pytest.raises(NotAllowed):
        guard.admit(INFER, bearer("both"))


def test_a_token_is_read_once_and_is_good_until_it_expires():
    clock, issuer = Clock(), Issuer(until=100.0)
    guard = Guard(frozenset(), keys=ring(a=Caller("asker", ASKS)), tokens=issuer, wall_clock=clock)
    for clock.now in (0.0, 50.0, 99.0):
        assert guard.admit(INFER, bearer("good")).name == "by token"
    assert issuer.reads == 1
    assert guard.knows(INFER, bearer("good"))
    clock.now = 100.0
    with pytest.raises(NotKnown):
        guard.admit(INFER, bearer("good"))


def test_strangers_are_not_remembered_and_those_who_are_known_not_without_end():
    guard = Guard(frozenset(), keys=ring(a=Caller("asker", ASKS)))
    with pytest.raises(NotKnown):
        guard.admit(INFER, bearer("wrong"))
    assert not guard.knows(INFER, bearer("wrong"))
    ways = [Shown(b"a", b"%d" % number) for number in range(10_000)]
    for shown in ways:
        guard.admit(INFER, shown)
    assert sum(guard.knows(INFER, shown) for shown in ways) <= REMEMBERED


def test_a_caller_asks_no_more_often_than_its_rate_over_all_its_keys():
    clock, rate = Clock(), Rate(2, 3)
    caller = Caller("often", ASKS, rate)
    guard = Guard(frozenset(), keys=ring(a=caller, b=caller, c=Caller("other", ASKS)), clock=clock)
    for key in ("a", "b", "a"):
        guard.admit(INFER, bearer(key))
    with pytest.raises(TooOften) as refused:
        guard.admit(INFER, bearer("b"))
    assert refused.value.retry_after_s == pytest.approx(0.5)
    guard.admit(INFER, bearer("c"))
    clock.now = 0.5
    guard.admit(INFER, bearer("a"))


def test_who_may_not_ask_takes_nothing_from_its_rate():
    guard = Guard(frozenset(), keys=ring(a=Caller("x", ASKS, Rate(1, 1))), clock=Clock())
    with pytest.raises(NotAllowed):
        guard.admit(LOAD, bearer("a"))
    assert guard.admit(HEALTH, bearer("a"))
    guard.admit(INFER, bearer("a"))


def test_new_keys_fill_no_bucket_unless_the_rate_is_another():
    guard = Guard(frozenset(), keys=ring(a=Caller("x", ASKS, Rate(1, 1))), clock=Clock())
    guard.admit(INFER, bearer("a"))
    guard.bring(ring(a=Caller("x", ASKS, Rate(1, 1))))
    with pytest.raises(TooOften):
        guard.admit(INFER, bearer("a"))
    guard.bring(ring(a=Caller("x", ASKS, Rate(1, 2))))
    guard.admit(INFER, bearer("a"))


def test_headers_are_read_in_bytes_and_in_text_and_the_last_counts():
    pairs = [("authorization", "Bearer old"), ("x", "y"), (b"authorization", b"Bearer new")]
    assert shown_by(pairs) == Shown(None, b"Bearer new")
    assert shown_by([]) == NOBODY
    for names in itertools.permutations(["x-api-key", "authorization"]):
        assert shown_by([(name, "k") for name in names]) == Shown(b"k", b"k")


def test_who_may_not_is_not_known_for_that():
    guard = Guard(ASKS, keys=ring(o=Caller("operator", ORDERS)))
    guard.admit(LOAD, bearer("o"))
    assert guard.knows(LOAD, bearer("o"))
    assert not guard.knows(INFER, bearer("o"))
    assert guard.knows(INFER, NOBODY)
    assert not guard.knows(LOAD, NOBODY)
