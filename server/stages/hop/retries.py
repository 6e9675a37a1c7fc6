"""How many requests may be sent once more: a share of all, so that a sick tier is not asked twice as much.

A token bucket, as gRPC's own retry throttling and Finagle's retry budget have it. Pure.
"""


class RetryBudget:
    """Every request adds `share` of a retry; at most `most` are saved up. `spent` counts those so far."""

    __slots__ = ("_left", "_most", "_share", "spent")

    def __init__(self, share: float = 0.2, most: float = 100.0) -> None:
        self._share = share
        self._most = most
        self._left = most
        self.spent = 0

    @property
    def left(self) -> int:
        """How many may be sent once more, as it stands."""
        return int(self._left)

    def earn(self, requests: int) -> None:
        self._left = min(self._most, self._left + requests * self._share)

    def spend(self) -> bool:
        """Whether one request may be sent once more."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        self.spent += 1
        return True
