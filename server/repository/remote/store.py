"""What a mirror asks of a place where objects lie: to list them, and to read one."""

from collections.abc import Iterator
from typing import Protocol

from server.repository.remote.listing import Listing


class StoreFault(Exception):
    """The store did not do what it was asked. `str(error)` is a sentence without secrets.

    is_gone   there is no such object (any more)
    """

    def __init__(self, sentence: str, *, is_gone: bool = False) -> None:
        super().__init__(sentence)
        self.is_gone = is_gone


class Store(Protocol):
    """Blocks, from any thread; every wait in it has a limit. Raises `StoreFault` only."""

    def list(self) -> Listing:
        """Everything that lies in the repository."""

    def read(self, path: str, start: int, size: int) -> Iterator[tuple[int, bytes]]:
        """The bytes of an object from `start` to its `size`, in order: (where they begin, bytes).

        It may begin at 0 although asked for more, where the store cannot do better.
        """

    def tag(self, path: str) -> str | None:
        """The tag that an object has by now; None where what was read is told by its SHA-256 anyway."""
