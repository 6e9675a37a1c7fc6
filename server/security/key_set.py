"""The keys that sign tokens, as they are by now: fetched anew when a token names one that is not there.

How often that may be asked for, whoever asks, has a floor: anybody can name a key that nobody has.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import structlog

from server.domain.errors import NotKnown
from server.security.guard import Vouched
from server.security.tokens import KeySet, KeySetUnusable, TokenRule, kid_of, read_key_set

log = structlog.get_logger(__name__)

FLOOR_S = 10.0
"""Between two fetches for the sake of a key that is not there."""

LONGEST_FETCH_S = 5.0
Fetch = Callable[[], Awaitable[bytes]]
"""The set as it is written. Raises `KeySetUnusable` if it cannot be had."""


class FetchedKeys:
    """Answers `server.security.guard.Tokens`. Lives on the event loop.

    changed   is called when there are other keys than before
    """

    def __init__(
        self,
        rule: TokenRule,
        fetch: Fetch,
        *,
        where: str,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`where` is the file or address, for the log."""
        self.changed = changed
        self._rule = rule
        self._fetch = fetch
        self._where = where
        self._clock = clock
        self._text = b""
        self._keys: KeySet = {}
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()

    def read(self, token: bytes, now: float) -> Vouched:
        """Raises `NotKnown`."""
        return self._rule.read(token, self._keys, now)

    def lacks(self, token: bytes) -> bool:
        """Whether the key that it names may be there by now."""
        try:
            is_known = kid_of(token) in self._keys
        except NotKnown:
            return False
        return not is_known and (self._fetching.locked() or self._is_due)

    async def fetch(self) -> None:
        """For somebody whose key is lacking, unless it was done a moment ago."""
        async with self._fetching:
            if self._is_due:
                await self._fetch_now()

    async def refresh(self) -> None:
        """In any case. What cannot be had, or cannot be used, leaves the keys before it in force."""
        async with self._fetching:
            await self._fetch_now()

    @property
    def _is_due(self) -> bool:
        return self._clock() - self._fetched_at >= FLOOR_S

    async def _fetch_now(self) -> None:
        self._fetched_at = self._clock()
        try:
            async with asyncio.timeout(LONGEST_FETCH_S):
                text = await self._fetch()
            if text == self._text:
                return
            self._keys = read_key_set(text)
        except (KeySetUnusable, TimeoutError) as fault:
            log.error("token_keys_unusable", where=self._where, why=str(fault) or "no answer in time")
            return
        self._text = text
        log.info("token_keys_read", where=self._where, keys=len(self._keys))
        self.changed()
