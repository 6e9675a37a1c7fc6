"""Where pre- and post-processing code runs: a few threads, and a line of bounded length before them."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from server.domain.errors import QueueFull

T = TypeVar("T")


class Pool:
    """User code off the event loop. The owner closes it after the last request."""

    def __init__(self, threads: int, max_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="stage")
        self._places = threads + max_waiting
        self._taken = 0
        self._counting = threading.Lock()

    async def run(self, model: str, work: Callable[[], T]) -> T:
        """Do `work` on a thread. Raises `QueueFull` if the line is full.

        If the caller is cancelled, work that has not begun never begins; work that has, ends unheard.
        """
        with self._counting:
            if self._taken >= self._places:
                raise QueueFull(model, self._taken, 1.0)
            self._taken += 1
        future = self._threads.submit(work)
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wrap_future(future)
        finally:
            del future  # what it raised holds this frame, and by that all that the request brought along

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _leave(self, _: object) -> None:
        with self._counting:
            self._taken -= 1
