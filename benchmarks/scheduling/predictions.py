"""How well the server foretold its runs, as its own metrics say; and how well that can be done at all."""

import random
import re
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import onnx
import onnxruntime

from benchmarks import networks
from benchmarks.call import HOST
from benchmarks.findings import Findings
from benchmarks.sample import percentile
from benchmarks.server_under_test import ServerUnderTest

FAMILY = "tercet_prediction_ratio"
"""A histogram: what a run took over what it was expected to take."""

WITHIN = 0.1
ASK_DEADLINE_S = 10
LAST = 50
FEWEST = 100
"""Runs whose share is told: of fewer, one is more than a hundredth."""

ROWS = 8
BUCKET = re.compile(rf"^{FAMILY}_bucket{{(?P<labels>.*)}} (?P<count>\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


def ask(server: ServerUnderTest, model: str) -> Mapping[float, float]:
    """What a server says of a model's runs so far, as `buckets` has it; empty if it says nothing."""
    url = f"http://{HOST}:{server.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=ASK_DEADLINE_S) as response:
        return buckets(response.read().decode(), model)


def buckets(metrics: str, model: str) -> Mapping[float, float]:
    """Cumulated counts of the model's histogram by upper bound."""
    found: dict[float, float] = {}
    for match in BUCKET.finditer(metrics):
        labels = dict(LABEL.findall(match["labels"]))
        if labels.get("model") == model:
            found[float(labels["le"])] = found.get(float(labels["le"]), 0.0) + float(match["count"])
    return found


def since(before: Mapping[float, float], now: Mapping[float, float]) -> Mapping[float, float]:
    """The runs between two answers."""
    return {bound: count - before.get(bound, 0.0) for bound, count in now.items()}


@dataclass(frozen=True, slots=True)
class Foretold:
    """Runs, and how many of them took within a tenth of what was expected."""

    right: float = 0.0
    runs: float = 0.0

    def __add__(self, other: "Foretold") -> "Foretold":
        return Foretold(self.right + other.right, self.runs + other.runs)

    @property
    def share(self) -> float | None:
        """None of fewer than `FEWEST`."""
        return self.right / self.runs if self.runs >= FEWEST else None


def told_of(cumulated: Mapping[float, float]) -> Foretold:
    """Needs bounds at a tenth to both sides of 1; no runs without them."""
    whole = cumulated.get(float("inf"), 0.0)
    high, low = cumulated.get(1 + WITHIN), cumulated.get(1 - WITHIN)
    return Foretold() if high is None or low is None else Foretold(high - low, whole)


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
    rested    the share foretold where each run has one row, and comes after a rest of about its own length
    """

    foretold: float
    slow: float
    rested: float


def bare(scratch: Path, seconds: float) -> Bare:
    """The live network's runs without a server, on one thread: a full batch in each, then a row in each."""
    scratch.mkdir()
    file = scratch / "cnn.onnx"
    onnx.save(networks.cnn(), file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    rows = np.zeros((ROWS, *wanted.shape[1:]), np.float32)
    full = _timed(lambda: session.run(None, {wanted.name: rows}), seconds)
    single = _timed(lambda: session.run(None, {wanted.name: rows[:1]}), seconds, rest_s=median(full) / ROWS)
    return Bare(foretold(full), percentile(sorted(full), 0.99) / median(full), foretold(single))


def _timed(run: Callable[[], object], seconds: float, rest_s: float = 0.0) -> list[float]:
    """What each run took, in seconds. Before each is a rest as a server has whose requests come by chance."""
    took: list[float] = []
    chance = random.Random(0)
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(took) <= 2 * LAST:
        if rest_s:
            time.sleep(chance.expovariate(1 / rest_s))
        before = time.perf_counter()
        run()
        took.append(time.perf_counter() - before)
    return took


def findings(quiet: Sequence[float | None], all_: Sequence[float | None], alone: Bare) -> Findings:
    """Shares of each load, the lightest first, which has rests. Of the others, the worst of the quiet rounds;
    of that one, the share of all over a bare session's. None where the server did not tell.
    """
    told = [share for share in quiet[1:] if share is not None]
    light = all_[0]
    return {
        "predicted": min(told) if len(told) == len(quiet) - 1 else None,
        "predicted after rests": light / alone.rested if light is not None else None,
    }
