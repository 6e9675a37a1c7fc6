import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.security.caller import Caller
from server.security.keys import KeyRing, KeysUnusable, read_keys
from server.security.rate import Rate
from server.security.rights import Right


def written(**more: Any) -> bytes:
    return json.dumps([{**entry(), **more}]).encode()


def entry(key: bytes = b"secret") -> dict[str, Any]:
    return {"name": "ci", "sha256": sha256(key).hexdigest(), "rights": ["inference"]}


def test_a_key_is_found_by_what_it_is_and_not_by_its_sum():
    keys = read_keys(written())
    assert keys.find(b"secret") == Caller("ci", frozenset({Right.INFERENCE}))
    assert keys.find(sha256(b"secret").hexdigest().encode()) is None
    assert keys.find(b"") is None


@given(st.lists(st.binary(min_size=1), unique=True, max_size=200), st.binary())
def test_every_key_is_its_own_callers_and_nobody_elses(keys, other):
    ring = KeyRing({sha256(key).digest(): Caller(key.hex(), frozenset()) for key in keys})
    assert [ring.find(key) for key in keys] == [Caller(key.hex(), frozenset()) for key in keys]
    assert (ring.find(other) is None) == (other not in keys)


@pytest.mark.parametrize(
    ("more", "rate"),
    [
        ({}, None),
        ({"requests_per_second": 5}, Rate(5, 5)),
        ({"requests_per_second": 0.1}, Rate(0.1, 1)),
        ({"requests_per_second": 5, "burst": 20}, Rate(5, 20)),
    ],
)
def test_a_key_has_the_rate_that_is_written(more, rate):
    found = read_keys(written(**more)).find(b"secret")
    assert found is not None
    assert found.rate == rate


def test_one_caller_may_have_two_keys_while_they_are_changed():
    keys = read_keys(json.dumps([entry(b"old"), entry(b"new")]).encode())
    assert keys.find(b"old") == keys.find(b"new") != None  # noqa: E711


def test_keys_of_one_name_have_one_rate_as_the_bucket_is_the_names():
    twice = [{**entry(b"old"), "requests_per_second": 1}, {**entry(b"new"), "requests_per_second": 2}]
    with pytest.raises(KeysUnusable, match=r"key 2 \('ci'\) has another rate"):
        read_keys(json.dumps(twice).encode())
    with pytest.raises(KeysUnusable, match="has another rate"):
        read_keys(json.dumps([twice[0], entry(b"new")]).encode())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "the file"),
        (b"{}", "the file"),
        (b"[3]", "key 1"),
        (written(name=""), "key 1, name"),
        (written(sha256="secret"), "key 1, sha256"),
        (written(rights=[]), "key 1, rights"),
        (written(rights=["everything"]), "key 1, rights"),
        (written(rights="control"), "key 1, rights"),
        (written(right=["control"]), "key 1, right"),
        (written(requests_per_second=0), "key 1, requests_per_second"),
        (written(requests_per_second="5"), "key 1, requests_per_second"),
        (written(requests_per_second=1, burst=0.5), "key 1, burst"),
        (written(burst=5), "burst without requests_per_second"),
        (json.dumps([entry(), entry()]).encode(), "there twice"),
    ],
)
def test_a_fault_is_told_with_its_place_and_without_what_is_written_there(text, why):
    with pytest.raises(KeysUnusable, match=why) as told:
        read_keys(text)
    assert "secret" not in str(told.value)
