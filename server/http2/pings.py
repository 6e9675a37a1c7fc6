"""Who may ping whom, and how often, on one connection.

The rules are gRPC's: proposals A8 (clients that ask) and A9 (servers that do), as its core reads them.
"""

from math import inf

from server.http2.calls import Manners

IDLE_INTERVAL_S = 7200.0
"""Between pings of a client without calls, where those are not welcome."""

AFTER_THE_LAST_S = 60.0
"""Until we ask once more when we have asked as often as we are to: a client may have left since."""


class Pings:
    __slots__ = ("_asked", "_asked_at", "_came_at", "_manners", "_strikes")

    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        self.forget()

    def forget(self) -> None:
        """We have sent fields or data since: all counts begin anew."""
        self._asked = self._strikes = 0
        self._asked_at = self._came_at = -inf

    def came(self, now: float, *, has_calls: bool) -> bool:
        """The client has pinged. False if that was once too often."""
        manners = self._manners
        is_idle = not has_calls and not manners.asks_idle
        interval_s = IDLE_INTERVAL_S if is_idle else manners.ping_interval_s
        if now < self._came_at + interval_s:
            self._strikes += 1
        self._came_at = now
        return not manners.most_strikes or self._strikes <= manners.most_strikes

    def may_ask(self, now: float) -> bool:
        """Whether we are to ask a silent client; if so, we have."""
        most = self._manners.most_pings
        if most and self._asked >= most and now < self._asked_at + AFTER_THE_LAST_S:
            return False
        self._asked += 1
        self._asked_at = now
        return True
