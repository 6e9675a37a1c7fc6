"""An event loop whose time is a number: where it would sleep it jumps to the next timer.

Everything else is asyncio's own, so what runs on it is the real code with its own tasks, `call_soon` and
`call_later`. No socket, thread or signal can wake it: whatever is awaited must come from a timer. An error
that a callback lets out ends the run, where asyncio would log it and go on.
"""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any

START_NS = 1_000_000_000
"""The first moment: not 0, which elsewhere means that something has not happened."""


class Stuck(Exception):
    """Something is awaited, and nothing is scheduled that could ever bring it."""

    def __init__(self, at_s: float) -> None:
        super().__init__(f"after {at_s:.3f} s of virtual time nothing is scheduled, yet something is awaited")


class VirtualLoop(asyncio.BaseEventLoop):
    """`now_ns` is a clock in exact nanoseconds; `time` is the same in seconds.

    Timers of the same nanosecond fall due together.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ns = START_NS
        self._clock_resolution = 0.5e-9
        self._selector = _Jump(self._advance)

    def now_ns(self) -> int:
        return self._ns

    def time(self) -> float:
        return self._ns / 1e9

    def call_at_ns(self, when: int, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """As `call_at`, on the exact clock; a moment that has passed is now."""
        return self.call_at(when / 1e9, callback)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        raise error if isinstance(error, BaseException) else RuntimeError(context["message"])

    def _advance(self, seconds: float | None) -> None:
        if seconds is None:
            raise Stuck((self._ns - START_NS) / 1e9)
        if seconds > 0:
            # At least one: whoever finds its moment not quite come, and asks again, must see time pass
            self._ns += max(1, round(seconds * 1e9))

    def _process_events(self, events: object) -> None:
        """There are none: only time wakes this loop."""

    def _write_to_self(self) -> None:
        """It never sleeps, so nobody need wake it."""


class _Jump(selectors.BaseSelector):
    """What asyncio sleeps on: it hands the seconds on, and no event ever comes of them."""

    def __init__(self, advance: Callable[[float | None], None]) -> None:
        self._advance = advance

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._advance(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise NotImplementedError("a virtual loop has no files or sockets")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise NotImplementedError("a virtual loop has no files or sockets")

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}
