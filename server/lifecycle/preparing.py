"""Has large models that are not in memory prepared for a quick load: one at a time, in a process of its own.

A server with room for all of its models prepares none. Who has left takes the place of those that were not
used for longest; who was never asked for is prepared where that costs nobody a place. What could not be
prepared is not tried again before the server is started anew. Lives on the event loop.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from server.domain.configuration import Platform
from server.lifecycle.idle import Origin
from server.lifecycle.loader import platform_for
from server.lifecycle.prepared import NotKept, PreparedModels
from server.lifecycle.prospect import file_bytes

log = structlog.get_logger(__name__)

LEAST_BYTES = 16 * 2**20
"""Of a version's files: a smaller model is opened in milliseconds as it is."""

GROWS = 2
"""Bytes of what is prepared for each byte of the files: weights as they were, and as they are laid out."""

MOST_WAITING = 1000
"""Who leaves while so many wait is prepared when it leaves again."""

Prepare = Callable[[Origin, Path], Awaitable[str]]
"""Into an empty folder; why that was not done, or empty."""


class Preparing:
    """`start` runs a coroutine as a task of its owner's, under a name; nothing begins once it `is_over`.

    least_bytes   of a version's files; a smaller one is not prepared
    """

    def __init__(
        self,
        prepared: PreparedModels,
        prepare: Prepare,
        start: Callable[[Coroutine[Any, Any, None], str], object],
        is_over: Callable[[], bool],
        *,
        least_bytes: int = LEAST_BYTES,
    ) -> None:
        self._prepared = prepared
        self._prepare = prepare
        self._start = start
        self._is_over = is_over
        self._least_bytes = least_bytes
        self._turn = asyncio.Lock()
        self._seen: set[str] = set()
        self._waiting = 0

    def left(self, origin: Origin) -> None:
        """It was evicted, and what it is made of is still there."""
        self._soon(origin, displacing=True)

    def waits(self, origin: Origin) -> None:
        """It was verified, and is loaded once it is asked for."""
        self._soon(origin, displacing=False)

    def _soon(self, origin: Origin, *, displacing: bool) -> None:
        config, content = origin.offer.config, origin.content.whole
        if config is None or content in self._seen or self._waiting >= MOST_WAITING:
            return
        if platform_for(config, origin.version) != Platform.ONNX:
            return
        self._seen.add(content)
        self._waiting += 1
        self._start(self._in_turn(origin, displacing), f"prepare {origin.key[0]}")

    async def _in_turn(self, origin: Origin, displacing: bool) -> None:
        try:
            async with self._turn:
                if not self._is_over():
                    await self._have_prepared(origin, displacing)
        except OSError as error:
            self._say_not(origin, error.strerror or str(error))
        except Exception:  # a fault of ours: it is opened from its file, as it was till now
            log.exception("preparing_failed", model=origin.key[0])
        finally:
            self._waiting -= 1

    async def _have_prepared(self, origin: Origin, displacing: bool) -> None:
        name = self._prepared.name_of(origin.offer, origin.version)
        size = await asyncio.to_thread(file_bytes, origin.version)
        if size < self._least_bytes or await asyncio.to_thread(self._prepared.find, name) is not None:
            return
        try:
            into = await asyncio.to_thread(self._prepared.begin, GROWS * size, displacing=displacing)
        except NotKept as error:
            if not displacing:
                self._seen.discard(origin.content.whole)  # once it was asked for and leaves, it may
            self._say_not(origin, str(error))
            return
        try:
            why_not = await self._prepare(origin, into)
            if why_not:
                self._say_not(origin, why_not)
            else:
                await asyncio.to_thread(self._prepared.keep, name, into)
                log.info("model_prepared", model=origin.key[0], version=origin.key[1])
        finally:
            await asyncio.to_thread(shutil.rmtree, into, ignore_errors=True)

    def _say_not(self, origin: Origin, why: str) -> None:
        log.info("model_not_prepared", model=origin.key[0], version=origin.key[1], reason=why)
