"""The rule at every door: who asks, whether they may, and how often.

    caller = guard.admit(call, shown)      # or a refusal is raised, before anything is looked up

It holds what it is given and the levels of the buckets, and reads no file: `server.security.sources` brings
new keys. What was found out about a key or a token is remembered while nothing new is brought.
"""

from collections.abc import Callable
from time import monotonic, time
from typing import NamedTuple, Protocol

from server.domain.errors import NotAllowed, NotKnown, TooOften
from server.security.caller import ANONYMOUS, NOTHING_SHOWN, Caller, Shown
from server.security.keys import KeyRing
from server.security.rate import Level, Rate, take
from server.security.rights import Call, Rights, listed

REMEMBERED = 4096
FOREVER = float("inf")


class Vouched(NamedTuple):
    """A caller by its token, until the token expires: in seconds since the epoch."""

    caller: Caller
    until: float


class Tokens(Protocol):
    """What reads tokens (`server.security.tokens`)."""

    def read(self, token: bytes, now: float) -> Vouched:
        """Raises `NotKnown`."""
        ...

    def lacks(self, token: bytes) -> bool:
        """Whether it may be signed by a key that is yet to be fetched."""
        ...

    async def fetch(self) -> None:
        """Fetch the keys anew. Never raises: what cannot be fetched stays as it was."""
        ...


class Guard:
    """Lives on the event loop.

    anonymous   the rights of who shows nothing
    """

    def __init__(
        self,
        anonymous: Rights,
        *,
        keys: KeyRing | None = None,
        tokens: Tokens | None = None,
        clock: Callable[[], float] = monotonic,
        wall_clock: Callable[[], float] = time,
    ) -> None:
        self._anonymous = Caller(ANONYMOUS, anonymous)
        self._keys = keys
        self._tokens = tokens
        self._asks = keys is not None or tokens is not None
        self._clock = clock
        self._wall_clock = wall_clock
        self._known: dict[Shown, Vouched] = {}
        self._levels: dict[str, tuple[Rate, Level]] = {}

    def bring(self, keys: KeyRing | None) -> None:
        """From now on these keys count, and no other."""
        self._keys = keys
        self._asks = keys is not None or self._tokens is not None
        self.forget()

    def forget(self) -> None:
        """Find out anew about everybody. Nobody's bucket is filled by that."""
        self._known.clear()

    def admit(self, call: Call, shown: Shown) -> Caller:
        """Who asks, if they may. Raises `NotKnown`, `NotAllowed` or `TooOften`."""
        if not call.rights:
            return self._anonymous
        caller = self.caller(shown)
        if call.rights.isdisjoint(caller.rights):
            if caller is self._anonymous:
                raise NotKnown
            raise NotAllowed(caller.name, listed(call.rights))
        if caller.rate is not None:
            self._take(caller.name, caller.rate)
        return caller

    def would_admit(self, call: Call, shown: Shown) -> bool:
        """Whether who shows this has the right. It takes nothing from a rate."""
        try:
            return not call.rights.isdisjoint(self.caller(shown).rights)
        except NotKnown:
            return False

    def knows(self, call: Call, shown: Shown) -> bool:
        """Whether somebody who may has been found out about before: then to ask again costs next to nothing.

        False for who may not: of such a caller a door is to take no more than the head.
        """
        if shown == NOTHING_SHOWN:
            return not call.rights.isdisjoint(self._anonymous.rights)
        known = self._known.get(shown)
        return known is not None and not call.rights.isdisjoint(known.caller.rights)

    def is_prepared(self, shown: Shown) -> bool:
        """Whether nothing has to be fetched before this can be judged."""
        if self._tokens is None or shown == NOTHING_SHOWN or shown in self._known:
            return True
        secret = shown.secret
        return secret is None or not self._tokens.lacks(secret)

    async def prepare(self, shown: Shown) -> None:
        """Fetch what is lacking to judge this."""
        if not self.is_prepared(shown) and self._tokens is not None:
            await self._tokens.fetch()

    def caller(self, shown: Shown) -> Caller:
        """Who shows this. Raises `NotKnown` for a key or a token that is not good."""
        if shown == NOTHING_SHOWN or not self._asks:  # where nobody asks, it is meant for somebody else
            return self._anonymous
        known = self._known.get(shown)
        if known is None or (known.until != FOREVER and known.until <= self._wall_clock()):
            known = self._find_out(shown)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[shown] = known
        return known.caller

    def _find_out(self, shown: Shown) -> Vouched:
        secret = shown.secret
        if secret is None:
            raise NotKnown("what was shown is no bearer's key or token")
        caller = None if self._keys is None else self._keys.find(secret)
        if caller is not None:
            return Vouched(caller, FOREVER)
        if self._tokens is None:
            raise NotKnown("the key is not known")
        return self._tokens.read(secret, self._wall_clock())

    def _take(self, name: str, rate: Rate) -> None:
        """Raises `TooOften`."""
        before, level = self._levels.get(name, (rate, None))
        if before != rate:
            level = None
        level, wait_s = take(level, rate, self._clock())
        self._levels[name] = rate, level
        if wait_s:
            raise TooOften(name, rate.per_second, wait_s)
