"""Who a process is, and what it takes of its machine."""

from collections.abc import Iterator

from prometheus_client import process_collector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class IdentityCollector(Collector):
    """One sample, always 1. By it a query can pick the processes of one tier, such as those with clients."""

    def __init__(self, version: str, tier: str) -> None:
        self._labels = {"version": version, "tier": tier}

    def collect(self) -> Iterator[Metric]:
        identity = GaugeMetricFamily("tercet_build_info", "Always 1: the program, and the role it was given")
        identity.add_sample(identity.name, self._labels, 1)
        yield identity


def resources() -> Collector:
    """Processor time, memory, open files and start of this process, by the names that all programs use."""
    return process_collector.ProcessCollector(registry=None)
