"""The keys of `--api-keys`: a file of names and SHA-256 sums, so that who reads it cannot use them."""

import re
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from types import MappingProxyType
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from server.security.caller import Caller
from server.security.rate import Rate
from server.security.rights import Right

DIGEST = r"^[0-9a-fA-F]{64}$"
SHELF_BYTES = 2
"""Digests with the same beginning lie together, and are compared one by one."""


class KeysUnusable(Exception):
    """The sentence says what is wrong, and where."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    name: Annotated[str, Field(min_length=1, max_length=256)]
    sha256: Annotated[str, Field(pattern=DIGEST)]
    rights: Annotated[list[Annotated[Right, Field(strict=False)]], Field(min_length=1)]
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    burst: Annotated[float, Field(ge=1)] | None = None


_ENTRIES = TypeAdapter(list[_Entry])


class KeyRing:
    """The keys of one reading of the file."""

    def __init__(self, callers: Mapping[bytes, Caller]) -> None:
        """`callers` by the SHA-256 of their keys."""
        shelves: dict[bytes, list[tuple[bytes, Caller]]] = {}
        for digest, caller in callers.items():
            shelves.setdefault(digest[:SHELF_BYTES], []).append((digest, caller))
        self._shelves = MappingProxyType(shelves)

    def find(self, key: bytes) -> Caller | None:
        """Whose key this is.

        How long the search takes says nothing of how near a wrong key is to a right one: what is compared are
        digests, and each of them to its end.
        """
        digest = sha256(key).digest()
        found = None
        for known, caller in self._shelves.get(digest[:SHELF_BYTES], ()):
            if compare_digest(known, digest):
                found = caller
        return found


def read_keys(text: bytes) -> KeyRing:
    """Raises `KeysUnusable`."""
    try:
        entries = _ENTRIES.validate_json(text)
    except ValidationError as error:
        raise KeysUnusable(_fault(error)) from None
    callers: dict[bytes, Caller] = {}
    rates: dict[str, Rate | None] = {}
    for number, entry in enumerate(entries, 1):
        digest = bytes.fromhex(entry.sha256)
        if digest in callers:
            raise KeysUnusable(f"key {number} ({entry.name!r}) is there twice: its sha256 is also another's")
        if entry.burst is not None and entry.requests_per_second is None:
            raise KeysUnusable(f"key {number} ({entry.name!r}) has a burst without requests_per_second")
        rate = _rate(entry)
        if rates.setdefault(entry.name, rate) != rate:
            raise KeysUnusable(f"key {number} ({entry.name!r}) has another rate than a key of that name has")
        callers[digest] = Caller(entry.name, frozenset(entry.rights), rate)
    return KeyRing(callers)


def _rate(entry: _Entry) -> Rate | None:
    """Without a burst, what comes within one second may come at once."""
    if entry.requests_per_second is None:
        return None
    burst = entry.requests_per_second if entry.burst is None else entry.burst
    return Rate(entry.requests_per_second, max(1.0, burst))


def _fault(error: ValidationError) -> str:
    """The first fault, with where it is. A value is not repeated: it may be a key in the wrong place."""
    fault = error.errors(include_input=False, include_url=False)[0]
    place = fault["loc"]
    where = "the file" if not place else f"key {int(place[0]) + 1}"
    if len(place) > 1:
        where += f", {place[1]}"
    return f"{where}: {re.sub(r'^Input', 'it', fault['msg'])}"
