"""Who is using a version between its stages or steps, so that it is closed only after the last of them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Leases:
    """Counted on the event loop. Owned by the version that they keep alive.

    count   of leases out now. A claim is not counted: it keeps a version from being closed, too, but only
            until its memory is needed for others.
    """

    def __init__(self) -> None:
        self.count = 0
        self._claims = 0
        self._are_void = False
        self._free = asyncio.Event()
        self._free.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Until it is left again."""
        self.take()
        try:
            yield
        finally:
            self.let_go()

    @contextmanager
    def claim(self) -> Iterator[None]:
        """The same for who may need the version later, and can do with one of the same content then."""
        self._claims += 1
        self._free.clear()
        try:
            yield
        finally:
            self._claims -= 1
            self._note_free()

    def void_claims(self) -> None:
        """The memory is needed: nobody who has but a claim is waited for."""
        self._are_void = True
        self._note_free()

    def until(self, task: "asyncio.Future[Any]") -> None:
        """Until this task is over, from now on and not only once it has begun."""
        self.take()
        task.add_done_callback(self.let_go)

    async def ended(self, within_s: float) -> None:
        """Wait until the last one is given back, and no longer than that."""
        try:
            async with asyncio.timeout(within_s):
                await self._free.wait()
        except TimeoutError:
            pass

    def take(self) -> None:
        """Until `let_go` is called for it, once."""
        self.count += 1
        self._free.clear()

    def let_go(self, _: object = None) -> None:
        self.count -= 1
        self._note_free()

    def _note_free(self) -> None:
        if not self.count and (self._are_void or not self._claims):
            self._free.set()
