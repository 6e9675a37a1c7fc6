"""How well the server foretold its runs, as its own metrics say."""

import re
import urllib.request
from collections.abc import Mapping

from benchmarks.call import HOST
from benchmarks.server_under_test import ServerUnderTest

FAMILY = "tercet_prediction_ratio"
"""A histogram: what a run took over what it was expected to take."""

WITHIN = 0.1
ASK_DEADLINE_S = 10
BUCKET = re.compile(rf"^{FAMILY}_bucket{{(?P<labels>.*)}} (?P<count>\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


def share_within(server: ServerUnderTest, model: str) -> float | None:
    """The share of a model's runs that took within a tenth of what was expected; None if nothing is told."""
    url = f"http://{HOST}:{server.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=ASK_DEADLINE_S) as response:
        return share_of(buckets(response.read().decode(), model))


def buckets(metrics: str, model: str) -> Mapping[float, float]:
    """Cumulated counts of the model's histogram by upper bound."""
    found: dict[float, float] = {}
    for match in BUCKET.finditer(metrics):
        labels = dict(LABEL.findall(match["labels"]))
        if labels.get("model") == model:
            found[float(labels["le"])] = found.get(float(labels["le"]), 0.0) + float(match["count"])
    return found


def share_of(cumulated: Mapping[float, float]) -> float | None:
    """Needs bounds at a tenth to both sides of 1."""
    whole = cumulated.get(float("inf"), 0.0)
    high, low = cumulated.get(1 + WITHIN), cumulated.get(1 - WITHIN)
    if not whole or high is None or low is None:
        return None
    return (high - low) / whole
