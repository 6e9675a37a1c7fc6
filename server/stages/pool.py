"""Where pre- and post-processing code runs: a few threads, and a line of bounded length before them."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic_ns
from typing import TypeVar

from server.domain.errors import QueueFull
from server.observe.demand import Asked, Demand

T = TypeVar("T")

MEMORY = 100
"""What a call takes is the mean of about so many."""


class Pool:
    """User code off the event loop. The owner closes it after the last request.

    demand   what is asked of its threads, by all versions together
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="stage")
        self._places = threads + max_waiting
        self._taken = 0
        self._side_by_side = threads
        self._asked = 0
        self._done = 0
        self._each_ns = 0.0
        self.demand = Demand(self._tell, monotonic_ns())
        self._counting = threading.Lock()

    async def run(self, model: str, work: Callable[[], T]) -> T:
        """Do `work` on a thread. Raises `QueueFull` if the line is full.

        If the caller is cancelled, work that has not begun never begins; work that has, ends unheard.
        """
        with self._counting:
            self._asked += 1
            if self._taken >= self._places:
                raise QueueFull(model, self._taken, 1.0)
            self._taken += 1
        future = self._threads.submit(self._timed, work)
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wrap_future(future)
        finally:
            del future  # what it raised holds this frame, and by that all that the request brought along

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _timed(self, work: Callable[[], T]) -> T:
        began = monotonic_ns()
        try:
            return work()
        finally:
            took = monotonic_ns() - began
            with self._counting:
                self._done = min(self._done + 1, MEMORY)
                self._each_ns += (took - self._each_ns) / self._done

    def _tell(self) -> Asked:
        return Asked(self._asked, self._each_ns, self._side_by_side)

    def _leave(self, _: object) -> None:
        with self._counting:
            self._taken -= 1
