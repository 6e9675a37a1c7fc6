"""Where the keys that sign tokens come from: a file, or an address."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import uniform

import httpx

from server.security.following import follow
from server.security.key_set import Fetch, FetchedKeys
from server.security.tokens import KeySetUnusable, TokenRule, read_key_set
from server.settings import Settings

REFRESH_S = 300.0
"""A key that its issuer has withdrawn is good no longer than that."""

LARGEST_SET = 2**20


class TokenKeys:
    """The keys, and the task that keeps them up to date."""

    def __init__(self, settings: Settings) -> None:
        """Raises `KeySetUnusable` for a file; an address may have them later."""
        where = settings.jwt_jwks
        self._file = None if "://" in where else Path(where)
        rule = TokenRule(settings.jwt_issuer, settings.jwt_audience, settings.jwt_rights_claim)
        if self._file is not None:
            read_key_set(_bytes_of(self._file))  # an operator's mistake is told at once
        fetch = _from_web(where) if self._file is None else _from_file(self._file)
        self.keys = FetchedKeys(rule, fetch, where=where)

    def tell(self, changed: Callable[[], None]) -> None:
        """`changed` is called when there are other keys than before."""
        self.keys.changed = changed

    async def keep_up(self, closing: asyncio.Event) -> None:
        """Until `closing` is set."""
        async with asyncio.TaskGroup() as tasks:
            refreshing = tasks.create_task(self._refresh_often())
            if self._file is not None:
                again = asyncio.Event()
                told = tasks.create_task(self._refresh_when(again))
                await follow([self._file], again.set, closing)
                told.cancel()
            await closing.wait()
            refreshing.cancel()

    async def _refresh_often(self) -> None:
        while True:
            await self.keys.refresh()
            await asyncio.sleep(uniform(0.8, 1.2) * REFRESH_S)

    async def _refresh_when(self, again: asyncio.Event) -> None:
        while True:
            await again.wait()
            again.clear()
            await self.keys.refresh()


def _from_file(file: Path) -> Fetch:
    async def fetch() -> bytes:
        return await asyncio.to_thread(_bytes_of, file)

    return fetch


def _bytes_of(file: Path) -> bytes:
    """Raises `KeySetUnusable`."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise KeySetUnusable(f"it cannot be read: {error.strerror}") from None


def _from_web(address: str) -> Fetch:
    async def fetch() -> bytes:
        text = b""
        try:
            async with httpx.AsyncClient() as client, client.stream("GET", address) as answer:
                answer.raise_for_status()
                async for piece in answer.aiter_bytes():
                    text += piece
                    if len(text) > LARGEST_SET:
                        raise KeySetUnusable(f"it has more than {LARGEST_SET} bytes")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise KeySetUnusable(f"it cannot be had: {error or type(error).__name__}") from None
        return text

    return fetch
