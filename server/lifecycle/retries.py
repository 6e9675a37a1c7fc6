"""Which versions failed for a reason that may pass, how often in a row, and when each is due again.

Owned by the manager and used on its loop; the clock and chance are arguments, so tests bring theirs.
"""

import random
from collections.abc import Callable

from server.domain.backoff import BackOff


class Retries:
    """The failures in a row of each version's content.

    later    (seconds, what to call then): the loop's `call_later`
    chance   a number from 0 to 1, as `random.random`
    """

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], object],
        rule: BackOff,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._later = later
        self._rule = rule
        self._chance = chance
        self._failures: dict[tuple[str, int], tuple[str, int]] = {}

    def again(
        self, model: str, version: int, identity: str, due: Callable[[], None], at_least_s: float = 0.0
    ) -> float:
        """Note a failure of this content; `due` is called when it may be tried again, so many seconds on.

        `due` is not called if by then the version has been forgotten, or another content of it failed.
        """
        known, count = self._failures.get((model, version), ("", 0))
        noted = (identity, count + 1 if known == identity else 1)
        self._failures[model, version] = noted
        wait_s = max(at_least_s, self._rule.wait_s(noted[1], self._chance()))

        def call() -> None:
            if self._failures.get((model, version)) == noted:
                due()

        self._later(wait_s, call)
        return wait_s

    def forget(self, model: str, version: int) -> None:
        """It is served, or nobody wants it any more."""
        self._failures.pop((model, version), None)
