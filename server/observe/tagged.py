"""Puts the tags of models on what is measured of them by name alone."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Tags = Mapping[str, Mapping[str, str]]
"""Model -> the tags that its configuration names."""


class Tagged(Collector):
    """The same metrics; a sample that has the label `model` has that model's tags too."""

    def __init__(self, collector: Collector, tags: Callable[[], Tags]) -> None:
        self._collector = collector
        self._tags = tags

    def collect(self) -> Iterator[Metric]:
        tags = {
            model: {f"_{key}": value for key, value in own.items()}
            for model, own in self._tags().items()
            if own
        }
        for metric in self._collector.collect():
            if tags:
                metric.samples = [
                    sample._replace(labels={**sample.labels, **tags.get(sample.labels.get("model", ""), {})})
                    for sample in metric.samples
                ]
            yield metric
