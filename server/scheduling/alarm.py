"""One timer for many moments: it goes off at the soonest."""

import asyncio
from collections.abc import Callable

NEVER = float("inf")


class Alarm:
    """Times are nanoseconds of the batcher's clock, which need not be the loop's. Lives on the event loop.

    at   when it goes off; `NEVER` while it is not set
    """

    __slots__ = ("_call", "_clock", "_loop", "_timer", "at")

    def __init__(self, call: Callable[[], None], clock: Callable[[], int]) -> None:
        self._call = call
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.at = NEVER

    def set_by(self, at: float) -> None:
        """Go off at this moment, or sooner if it was set so."""
        if at < self.at:
            self.clear()
            self.at = at
            self._timer = self._loop.call_later(max(0.0, (at - self._clock()) / 1e9), self._ring)

    def clear(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.at = NEVER

    def _ring(self) -> None:
        self._timer = None
        self.at = NEVER
        self._call()
