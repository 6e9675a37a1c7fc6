"""Triton's restricted APIs: a group of calls is closed to requests without a header of one value.

    --http-restricted-api=model-repository,logging:admin-key=secret

Written and refused as Triton does it. Over HTTP the header is as written; over gRPC
`triton-grpc-protocol-` stands before it. Source: Triton's guide to customising its protocols.
"""

from collections.abc import Iterable, Mapping, Sequence
from hmac import compare_digest
from types import MappingProxyType
from typing import NamedTuple

from server.domain.errors import ApiRestricted
from server.security.rights import Api

GRPC_PREFIX = "triton-grpc-protocol-"


class RestrictionInvalid(Exception):
    """The sentence names the option and what is wrong with it."""


class Lock(NamedTuple):
    """The header that opens an API, in lower case, and the one value that does."""

    header: str
    value: bytes


class Restrictions:
    """Of one protocol. `what` is Triton's word for a group of calls in its refusals."""

    def __init__(self, locks: Mapping[Api, Lock], what: str) -> None:
        self._locks = MappingProxyType(dict(locks))
        self._what = what

    def __contains__(self, api: Api) -> bool:
        return api in self._locks

    def __bool__(self) -> bool:
        return bool(self._locks)

    def check(self, api: Api | None, headers: Iterable[tuple[str | bytes, str | bytes]], caller: str) -> None:
        """Raises `ApiRestricted`. Names of headers come in lower case."""
        lock = None if api is None else self._locks.get(api)
        if lock is None:
            return
        for name, value in headers:
            if _bytes(name) == lock.header.encode() and compare_digest(_bytes(value), lock.value):
                return
        raise ApiRestricted(self._what, lock.header, caller)


def read_http(groups: Sequence[str]) -> Restrictions:
    """Of `--http-restricted-api`, once for each time that it was given. Raises `RestrictionInvalid`."""
    return Restrictions(_locks(groups, "--http-restricted-api", ""), "API")


def read_grpc(groups: Sequence[str]) -> Restrictions:
    """Of `--grpc-restricted-protocol`, likewise."""
    return Restrictions(_locks(groups, "--grpc-restricted-protocol", GRPC_PREFIX), "protocol")


def _locks(groups: Sequence[str], option: str, prefix: str) -> dict[Api, Lock]:
    locks: dict[Api, Lock] = {}
    for group in groups:
        names, colon, lock = group.partition(":")
        header, equals, value = lock.partition("=")
        if not (colon and equals and names and header):
            raise RestrictionInvalid(f"{option} must be API[,API...]:HEADER=VALUE")
        for name in names.split(","):
            if name not in set(Api):
                known = ", ".join(Api)
                raise RestrictionInvalid(f"{option}: there is no API '{name}'; there are {known}")
            if Api(name) in locks:
                raise RestrictionInvalid(f"{option}: '{name}' can be in one group alone")
            locks[Api(name)] = Lock((prefix + header).lower(), value.encode())
    return locks


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")
