import asyncio

import pytest

from server.domain.errors import NotKnown
from server.security.key_set import FLOOR_S, FetchedKeys
from server.security.tokens import KeySetUnusable, TokenRule
from tests.security.tokens import AUDIENCE, ISSUER, NOW, Issuer, key_set

RULE = TokenRule(ISSUER, AUDIENCE, "tercet_rights")


class Source:
    """What is fetched, how often that was done, and the time."""

    def __init__(self, *issuers: Issuer) -> None:
        self.text = key_set(*(issuer.public() for issuer in issuers))
        self.fetched = 0
        self.now = 0.0
        self.keys = FetchedKeys(RULE, self.fetch, where="here", clock=lambda: self.now)

    async def fetch(self) -> bytes:
        self.fetched += 1
        await asyncio.sleep(0)
        if not self.text:
            raise KeySetUnusable("it cannot be had")
        return self.text


async def test_the_first_token_brings_the_keys():
    first = Issuer()
    source = Source(first)
    assert source.keys.lacks(first.token())
    await source.keys.fetch()
    assert not source.keys.lacks(first.token())
    assert source.keys.read(first.token(), NOW).caller.name == "somebody"


async def test_a_new_key_is_fetched_when_it_is_first_named():
    first, second = Issuer(), Issuer("second")
    source = Source(first)
    await source.keys.refresh()
    source.text = key_set(second.public())
    source.now += FLOOR_S
    assert source.keys.lacks(second.token())
    await source.keys.fetch()
    assert source.keys.read(second.token(), NOW)
    with pytest.raises(NotKnown):
        source.keys.read(first.token(), NOW)


async def test_keys_that_nobody_has_are_asked_for_no_more_often_than_the_floor_says():
    source = Source(Issuer())
    strange = [Issuer(f"strange-{number}").token() for number in range(20)]
    for _ in range(3):
        source.now += FLOOR_S
        for token in strange:
            if source.keys.lacks(token):
                await source.keys.fetch()
    assert source.fetched == 3


async def test_many_at_once_wait_for_one_fetch():
    first = Issuer()
    source = Source(first)
    await asyncio.gather(*(source.keys.fetch() for _ in range(50)))
    assert source.fetched == 1


async def test_what_cannot_be_had_leaves_the_keys_before_it():
    first = Issuer()
    source = Source(first)
    told = []
    source.keys.changed = lambda: told.append(True)
    await source.keys.refresh()
    for text in (b"", b"nothing", b'{"keys": []}'):
        source.text = text
        await source.keys.refresh()
    assert source.keys.read(first.token(), NOW)
    assert len(told) == 1


def test_what_is_no_token_lacks_nothing():
    assert not Source(Issuer()).keys.lacks(b"a key of another kind")
