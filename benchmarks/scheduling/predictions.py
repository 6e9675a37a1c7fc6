"""How well the server foretold its runs, as its own metrics say; and how well that can be done at all."""

import re
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnxruntime

from benchmarks import networks
from benchmarks.call import HOST
from benchmarks.sample import percentile
from benchmarks.server_under_test import ServerUnderTest

FAMILY = "tercet_prediction_ratio"
"""A histogram: what a run took over what it was expected to take."""

WITHIN = 0.1
ASK_DEADLINE_S = 10
LAST = 50
ROWS = 8
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


def foretold(took: Sequence[float], last: int = LAST) -> float:
    """The share that took within a tenth of the median of so many before each."""
    right = 0
    for at in range(last, len(took)):
        expected = median(took[at - last : at])
        right += abs(took[at] - expected) <= WITHIN * expected
    return right / (len(took) - last)


@dataclass(frozen=True, slots=True)
class Bare:
    """
    foretold  the share of runs that took within a tenth of the median of those before
    slow      what one in a hundred takes and more, over the median of all: how the machine stalls
    """

    foretold: float
    slow: float


def bare(scratch: Path, seconds: float) -> Bare:
    """The live network's runs without a server, on one thread, a full batch in each."""
    scratch.mkdir()
    file = scratch / "cnn.onnx"
    onnx.save(networks.cnn(), file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    rows = np.zeros((ROWS, *wanted.shape[1:]), np.float32)
    took: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(took) <= 2 * LAST:
        before = time.perf_counter()
        session.run(None, {wanted.name: rows})
        took.append(time.perf_counter() - before)
    return Bare(foretold(took), percentile(sorted(took), 0.99) / median(took))
