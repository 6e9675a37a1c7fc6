"""Whether the event loop keeps up: how late it comes to what was due.

Every request goes over it, so what holds it up is in the latency of all of them, and in no other metric.
"""

import asyncio
from collections.abc import Iterator

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from server.observe.histogram import Histogram
from server.observe.metrics import histogram_of

DELAYS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class EventLoopDelay(Collector):
    """Lives on the event loop that it watches."""

    def __init__(self, every_s: float = 0.25) -> None:
        self._every_s = every_s
        self._delays = Histogram(DELAYS_S)

    async def watch(self, closing: asyncio.Event) -> None:
        """Note how late the loop is, again and again, until `closing` is set."""
        loop = asyncio.get_running_loop()
        while not closing.is_set():
            due = loop.time() + self._every_s
            try:
                async with asyncio.timeout_at(due):
                    await closing.wait()
            except TimeoutError:
                self._delays.add(loop.time() - due)

    def collect(self) -> Iterator[Metric]:
        yield histogram_of(
            "tercet_event_loop_delay_seconds",
            "How late the event loop came to what was due",
            [({}, self._delays)],
        )
