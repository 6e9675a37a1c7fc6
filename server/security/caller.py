"""Who asks: what callers show, and who they turn out to be."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from server.security.rate import Rate
from server.security.rights import Rights

API_KEY = b"x-api-key"
AUTHORIZATION = b"authorization"
BEARER = b"bearer "

ANONYMOUS = "anonymous"
"""The name of who shows nothing."""


class Shown(NamedTuple):
    """The two headers that may say who asks, as they were written; None for one that is absent."""

    api_key: bytes | None = None
    authorization: bytes | None = None

    @property
    def secret(self) -> bytes | None:
        """The key or token; that of x-api-key where both are there. None for neither, or for no bearer."""
        if self.api_key is not None:
            return self.api_key.strip()
        if self.authorization is None or self.authorization[: len(BEARER)].lower() != BEARER:
            return None
        return self.authorization[len(BEARER) :].strip()


NOTHING_SHOWN = Shown()


def shown_by(headers: Iterable[tuple[str | bytes, str | bytes]]) -> Shown:
    """Out of headers or metadata, whose names are in lower case. Of several, the last counts."""
    api_key = authorization = None
    for name, value in headers:
        if name in (b"x-api-key", "x-api-key"):
            api_key = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
        elif name in (b"authorization", "authorization"):
            authorization = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
    return Shown(api_key, authorization)


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who is known, by the name that the audit line and refusals have.

    rate   of this name, over all that it asks; None for no limit
    """

    name: str
    rights: Rights
    rate: Rate | None = None
