"""The latency targets in force, so that what requests took can be held against them."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class TargetCollector(Collector):
    """`targets_s` has the models with a target, and their seconds."""

    def __init__(self, targets_s: Callable[[], Mapping[str, float]]) -> None:
        self._targets_s = targets_s

    def collect(self) -> Iterator[Metric]:
        targets = GaugeMetricFamily(
            "tercet_latency_target_seconds",
            "Within which each request for a model is to be answered",
            labels=["model"],
        )
        for model, seconds in self._targets_s().items():
            targets.add_metric([model], seconds)
        yield targets
