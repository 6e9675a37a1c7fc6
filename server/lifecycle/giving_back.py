"""Closes what a version held, and sees to it that the memory goes back to the system.

What is freed stays with the process until its allocator is told to give it back, which walks all of its
memory, in a thread. So that is done once for all that is closed together, and not without a rest after the
last time. What is closed alone is given back at once: a load may wait for it. Why, with figures:
docs/decisions/memory-returned.md.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from time import monotonic

from runtimes.memory import resident_bytes, trim

BREATH_S = 0.05
"""For others that are being closed at the same time, at most; and the longest rest."""

REST = 4
"""Times what giving back took, between two of them."""


@dataclass(frozen=True, slots=True)
class Given:
    """By how many bytes what is resident has shrunk since the first of `closed` was about to be closed.

    All of them together: nobody can tell whose a page was. What grew meanwhile makes it less; never below 0.
    """

    bytes: int
    closed: int


class GivingBack:
    """Used on one event loop. Whoever waits and leaves takes nobody along.

    resident, give_back, breath_s   for tests
    """

    def __init__(
        self,
        resident: Callable[[], int] = resident_bytes,
        give_back: Callable[[], object] = trim,
        breath_s: float = BREATH_S,
    ) -> None:
        self._resident = resident
        self._give_back = give_back
        self._breath_s = breath_s
        self._closing = 0
        self._closed = 0
        self._before: int | None = None
        self._next: asyncio.Future[Given] | None = None
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self._rests_until = 0.0

    async def close(self, close: Callable[[], None]) -> None:
        """Call `close` in a thread. Raises what it raises. What it frees is not given back yet."""
        if self._before is None:
            self._before = self._resident()
        self._closing += 1
        self._all_closed.clear()
        try:
            await asyncio.to_thread(close)
        finally:
            self._closing -= 1
            if not self._closing:
                self._all_closed.set()
        self._closed += 1

    async def back(self) -> Given:
        """Wait until what has been closed so far is given back."""
        if self._next is not None:
            return await asyncio.shield(self._next)
        self._next = coming = asyncio.get_running_loop().create_future()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._breath_s):
                    await self._all_closed.wait()
                    await asyncio.sleep(self._rests_until - monotonic())
        finally:  # who asks from now on is with the next
            before, given = self._before or 0, Given(0, self._closed)
            self._before = self._resident() if self._closing else None
            self._closed, self._next = 0, None
            self._rests_until, began = inf, monotonic()
            try:
                await asyncio.to_thread(self._give_back)
                given = Given(max(0, before - self._resident()), given.closed)
            finally:
                now = monotonic()
                self._rests_until = now + REST * (now - began)
                coming.set_result(given)
        return given
