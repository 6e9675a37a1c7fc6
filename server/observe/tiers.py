"""Metrics of the tiers as their callers see them: who is there, how hard they are pressed, what goes to them.

The times of each stage come back with the answers to a gateway, and lie in the tally of their version; what a
tier's own processes count, they show themselves.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.observe.metrics import Measured, histogram_of, labels_of


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointMeasured:
    """One process of a tier.

    in_sight     whether it is heard of
    ready        whether requests can go to it
    saturation   demand over capacity, as it says itself
    bundles      sent to it so far, with so many `requests`
    unanswered   requests that lie there
    ejections    how often it was left alone for a while, because it did not answer
    """

    tier: str
    address: str
    in_sight: bool
    ready: bool
    saturation: float
    bundles: int
    requests: int
    unanswered: int
    ejections: int


_COUNTERS: tuple[tuple[str, str, Callable[[EndpointMeasured], int]], ...] = (
    ("tercet_hop_bundles", "Bundles of requests sent to a process of a tier", lambda e: e.bundles),
    ("tercet_hop_requests", "Requests sent to a process of a tier", lambda e: e.requests),
    (
        "tercet_hop_ejections",
        "How often a process of a tier was left alone for a while, because it did not answer",
        lambda e: e.ejections,
    ),
)


class TierCollector(Collector):
    """The tiers that this process hands requests on to: a gateway, or a tier with another behind it.

    `hedges` are the requests that went to two endpoints so far, and how many of them the second answered.
    """

    def __init__(
        self, endpoints: Callable[[], Sequence[EndpointMeasured]], hedges: Callable[[], tuple[int, int]]
    ) -> None:
        self._endpoints = endpoints
        self._hedges = hedges

    def collect(self) -> Iterator[Metric]:
        endpoints = self._endpoints()
        yield from _tiers(endpoints)
        for name, text, read in _COUNTERS:
            counter = Metric(name, text, "counter")
            for each in endpoints:
                labels = {"tier": each.tier, "endpoint": each.address}
                counter.add_sample(f"{name}_total", labels, read(each))
            yield counter
        unanswered = GaugeMetricFamily(
            "tercet_hop_unanswered_requests",
            "Requests that lie with a process of a tier, unanswered",
            labels=["tier", "endpoint"],
        )
        for each in endpoints:
            unanswered.add_metric([each.tier, each.address], each.unanswered)
        yield unanswered
        sent, won = self._hedges()
        yield _one("tercet_hop_hedges", "Requests that went to a second endpoint, the first being slow", sent)
        yield _one("tercet_hop_hedges_won", "Requests that a second endpoint answered first", won)


class GatewayCollector(Collector):
    """What only a gateway knows. `versions` are those that serve, `retries` those so far."""

    def __init__(self, versions: Callable[[], Sequence[Measured]], retries: Callable[[], int]) -> None:
        self._versions = versions
        self._retries = retries

    def collect(self) -> Iterator[Metric]:
        yield _one("tercet_hop_retries", "Requests that were sent once more, elsewhere", self._retries())
        yield histogram_of(
            "tercet_stage_time_seconds",
            "Where the time of requests went, by stage and part: queue, compute, and the way there and back",
            (
                ({**labels_of(version), "stage": stage, "part": part}, histogram)
                for version in self._versions()
                for stage, times in version.tally.stage_times.items()
                for part, histogram in times.parts()
            ),
        )


def _one(name: str, text: str, value: int) -> Metric:
    counter = Metric(name, text, "counter")
    counter.add_sample(f"{name}_total", {}, value)
    return counter


def _tiers(endpoints: Sequence[EndpointMeasured]) -> Iterator[Metric]:
    counts = GaugeMetricFamily(
        "tercet_tier_endpoints",
        "Processes of a tier: those that are known, those that are heard of, those that take requests",
        labels=["tier", "state"],
    )
    pressed = GaugeMetricFamily(
        "tercet_tier_saturation_ratio",
        "Demand over capacity of the processes of a tier that take requests, on average: 1 is full",
        labels=["tier"],
    )
    for tier in dict.fromkeys(each.tier for each in endpoints):
        own = [each for each in endpoints if each.tier == tier]
        ready = [each.saturation for each in own if each.ready]
        counts.add_metric([tier, "known"], len(own))
        counts.add_metric([tier, "in_sight"], sum(each.in_sight for each in own))
        counts.add_metric([tier, "ready"], len(ready))
        if ready:
            pressed.add_metric([tier], sum(ready) / len(ready))
    yield counts
    yield pressed
