"""Who asks, by a header that the operator names: requests of one value share one part of a model's queue.

A proxy that knows its clients writes the header; a client that could write it itself could be many.
"""

from collections.abc import Iterable

LONGEST_KEY = 256
"""Characters of a value that count; those that agree so far are one client."""


class ClientHeader:
    """The header, or over gRPC the metadata, of that name. Of several, the last counts."""

    def __init__(self, name: str) -> None:
        self.name = name.lower().encode()
        self._text = name.lower()

    def key(self, value: bytes | None) -> str:
        """The client that a value of the header names; empty where it is absent."""
        return "" if value is None else value[:LONGEST_KEY].decode("latin-1")

    def find(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
        """The client that the metadata of a call name."""
        found: str | bytes = ""
        for name, value in metadata or ():
            if name == self._text:
                found = value
        return (found.decode("latin-1") if isinstance(found, bytes) else found)[:LONGEST_KEY]
