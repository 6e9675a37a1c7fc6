"""The repository index as metrics: how many versions are in each state, and which of them are in trouble."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Indexed:
    """One line of the index. `version` is empty where the model as a whole has a problem.

    in_trouble   it is unavailable, and nobody wanted it so
    """

    model: str
    version: str
    state: str
    in_trouble: bool


class IndexCollector(Collector):
    """Only those in trouble have a sample of their own: a repository may have thousands."""

    def __init__(self, index: Callable[[], Sequence[Indexed]]) -> None:
        self._index = index

    def collect(self) -> Iterator[Metric]:
        index = self._index()
        states = GaugeMetricFamily(
            "tercet_model_versions", "Versions in the repository index, by state", labels=["state"]
        )
        for state, count in sorted(Counter(each.state for each in index).items()):
            states.add_metric([state], count)
        yield states
        trouble = GaugeMetricFamily(
            "tercet_model_version_unavailable",
            "1 for a version that is unavailable although nobody unloaded it: the index says why",
            labels=["model", "version"],
        )
        for each in index:
            if each.in_trouble:
                trouble.add_metric([each.model, each.version], 1)
        yield trouble
