"""Whether a client is there: it has to begin in time, and is asked when nothing has come for long."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from server.http2 import frames
from server.http2.calls import Manners
from server.http2.pings import Pings

BEGIN_WITHIN_S = 20.0

QUESTION = b"you here"
"""What our PINGs hold."""


class Watched(Protocol):
    """
    is_heard   whether anything has come; made false with every look
    has_sent   whether fields or data have gone out; made false with every ping of either side
    has_calls  whether any is open
    """

    is_heard: bool
    has_sent: bool

    @property
    def has_calls(self) -> bool: ...


class Presence:
    """Of the client of one connection. Has a timer from the first moment until `end`."""

    __slots__ = ("_abort", "_line", "_loop", "_manners", "_pings", "_timer", "_write")

    def __init__(
        self, line: Watched, manners: Manners, write: Callable[[bytes], None], abort: Callable[[], None]
    ) -> None:
        """`abort` ends the connection of one that is not there."""
        self._line = line
        self._manners = manners
        self._write = write
        self._abort = abort
        self._pings = Pings(manners)
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(BEGIN_WITHIN_S, abort)

    def begun(self) -> None:
        """The client has said what it speaks."""
        self._timer.cancel()
        self._look_later()

    def end(self) -> None:
        self._timer.cancel()

    def pinged(self) -> bool:
        """The client has asked whether we are there. False if that was once too often."""
        self._recall()
        return self._pings.came(monotonic(), has_calls=self._line.has_calls)

    def _recall(self) -> None:
        """What was sent since the last ping of either side."""
        if self._line.has_sent:
            self._line.has_sent = False
            self._pings.forget()

    def _look_later(self) -> None:
        self._line.is_heard = False
        self._timer = self._loop.call_later(self._manners.ask_after_s, self._look)

    def _look(self) -> None:
        self._recall()
        is_idle = not self._line.has_calls and not self._manners.asks_idle
        if self._line.is_heard or is_idle or not self._pings.may_ask(monotonic()):
            self._look_later()
        else:
            self._write(frames.frame(frames.PING, 0, 0, QUESTION))
            self._timer = self._loop.call_later(self._manners.answered_within_s, self._give_up)

    def _give_up(self) -> None:
        if self._line.is_heard:
            self._look_later()
        else:
            self._abort()
