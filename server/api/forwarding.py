"""Headers that the operator wants a model's own code to see: they become parameters of the request.

As Triton's `--http-header-forward-pattern` and `--grpc-header-forward-pattern`: a header whose name holds a
match of the pattern is forwarded, whatever its case, unless the pattern begins with `(?-i)`. Names arrive in
lower case, as HTTP/2 writes them.
"""

import re
from collections.abc import Iterable

from server.api.grpc_peer import PEER
from server.domain.request import InferRequest

CASE_COUNTS = "(?-i)"


class HeaderForwarding:
    """Which headers go along with a request. Raises `re.error` for what is no pattern."""

    def __init__(self, pattern: str) -> None:
        exact = pattern.startswith(CASE_COUNTS)
        self._pattern = re.compile(pattern.removeprefix(CASE_COUNTS), re.NOFLAG if exact else re.IGNORECASE)

    def takes(self, name: bytes) -> bool:
        """Whether a header of this name is forwarded."""
        return self._pattern.search(name.decode("latin-1")) is not None

    def add(self, request: InferRequest, headers: Iterable[tuple[bytes | str, bytes | str]]) -> None:
        """Give the request the headers that match, where it has no parameter of that name itself."""
        matching = {
            name: value for name, value in map(_texts, headers) if self._pattern.search(name) and name != PEER
        }
        if matching:
            request.parameters = {**matching, **request.parameters}


def _texts(header: tuple[bytes | str, bytes | str]) -> tuple[str, str]:
    name, value = (part.decode("latin-1") if isinstance(part, bytes) else part for part in header)
    return name.lower(), value
