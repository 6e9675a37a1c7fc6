"""What callers were told in the place of an answer, by door and error.

Beside the requests that failed in a queue or a run, which their version counts too, it has those that came no
further than the door: unknown models, requests that make no sense, callers without the right.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class RefusalCollector(Collector):
    """`told` has for each door its errors by name, and how often callers were told of them."""

    def __init__(self, told: Mapping[str, Callable[[], Mapping[str, int]]]) -> None:
        self._told = told

    def collect(self) -> Iterator[Metric]:
        refusals = Metric("tercet_refusals", "Calls that were answered with an error, by which", "counter")
        for door, told in self._told.items():
            for error, count in told().items():
                refusals.add_sample("tercet_refusals_total", {"door": door, "error": error}, count)
        yield refusals
