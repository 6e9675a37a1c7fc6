"""Has the files of what was evicted kept in the host's memory: one at a time, in a thread.

What is kept belongs to whoever has the turn, and is not looked at without it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from server.lifecycle.residency.accountant import Key
from server.lifecycle.residency.eviction import GreedyDual
from server.lifecycle.warm_files import WarmFiles


class Warming:
    """At most so many bytes; none with 0. `start` runs a coroutine as a task of its owner's, under a name."""

    def __init__(
        self,
        budget_bytes: int,
        policy: GreedyDual,
        start: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        self.files = WarmFiles(budget_bytes)
        self._is_on = budget_bytes > 0
        self._policy = policy
        self._start = start
        self._turn = asyncio.Lock()

    def keep(self, key: Key, folder: Path) -> None:
        """It has left, and was in this folder."""
        if self._is_on:
            self._start(self._keep(key, folder), f"keep the files of {key[0]}")

    def drop(self, key: Key) -> None:
        """It is back, or offered no more; its files may still be on their way in."""
        if self._is_on:
            self._start(self._drop(key), f"let the files of {key[0]} go")

    def close(self) -> None:
        self.files.close()

    async def _keep(self, key: Key, folder: Path) -> None:
        async with self._turn:
            order = self._policy.order({*self.files.sizes, key})
            await asyncio.to_thread(self.files.left, key, folder, lambda _: order)

    async def _drop(self, key: Key) -> None:
        async with self._turn:
            if key in self.files.sizes:
                await asyncio.to_thread(self.files.drop, key)
