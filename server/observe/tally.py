"""What one model version has done so far, as plain numbers.

A tally belongs to its version. The event loop alone adds to it, a few times a run; whoever shows
statistics or metrics reads it. No lock: a reader may see a run half counted, never a torn number.
Durations are nanoseconds, as in Triton's statistics.
"""

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from server.observe.demand import Demand, Measure
from server.observe.pressure import Pressure

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)
RATIOS = (0.5, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 5.0)


class Histogram:
    """Counts by upper bound (inclusive), as Prometheus has them, not yet cumulated.

    `counts` has one more place than `bounds`: what lies above the last.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_all(self, values: Sequence[float], total: float) -> None:
        """At least one value; `total` is their sum. Those of one run mostly lie within the same bounds."""
        bounds, counts = self.bounds, self.counts
        self.total += total
        if len(values) == 1:
            counts[bisect_left(bounds, total)] += 1
            return
        ascending = sorted(values)
        at, highest = bisect_left(bounds, ascending[0]), bisect_left(bounds, ascending[-1])
        counted = 0
        while at < highest:
            upto = bisect_right(ascending, bounds[at], counted)
            counts[at] += upto - counted
            counted = upto
            at += 1
        counts[highest] += len(ascending) - counted

    def add_many(self, value: float, times: int) -> None:
        """The same value, `times` times: what every request of a run shares."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times


@dataclass(slots=True)
class Span:
    """How often something took time, and how much in all."""

    count: int = 0
    ns: int = 0

    def add(self, count: int, ns: int) -> None:
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class BatchSpans:
    """Runs of one batch size (rows)."""

    compute_input: Span = field(default_factory=Span)
    compute_infer: Span = field(default_factory=Span)
    compute_output: Span = field(default_factory=Span)


class Fill:
    """Elements of inputs: those that were there, and those that were added to make up a shape.

    The threads that run the model add to it, too, so it locks.
    """

    __slots__ = ("_adding", "added", "real")

    def __init__(self) -> None:
        self.real = 0
        self.added = 0
        self._adding = threading.Lock()

    def add(self, real: int, added: int) -> None:
        with self._adding:
            self.real += real
            self.added += added


@dataclass(slots=True)
class StageTimes:
    """Where the time of requests went that another process did a stage of.

    transfer   the way there and back, without what the stages behind it took
    """

    queue: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    compute: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    transfer: Histogram = field(default_factory=lambda: Histogram(SECONDS))

    def parts(self) -> Sequence[tuple[str, Histogram]]:
        return ("queue", self.queue), ("compute", self.compute), ("transfer", self.transfer)


FAILURES = ("REJECTED", "CANCELED", "BACKEND", "OTHER")

LEFT = ("full", "preferred", "delay", "idle", "deadline")
"""Why a batch left when it did, in the words of `server.scheduling.rule`."""

SMALL = ("alone", "shapes", "fit", "preferred", "deadline", "unbatched")
"""Why a batch had fewer rows than the model takes, in the words of `server.scheduling.rule`."""

REFUSED = ("requests", "bytes", "share", "late", "expired")
"""Why a request was refused, in the words of `server.scheduling.batcher`."""


@dataclass(slots=True)
class Tally:
    """Triton's counters of one version, and our histograms.

    inference_count   rows that were run
    execution_count   runs
    success … compute_output   per request: count of requests and the sum of their times
    failures          requests that failed after they were scheduled, by Triton's reason
    pending           accepted, and not yet running
    last_inference    milliseconds since the epoch; 0 for never
    left, small       batches, by why they left and why they were small
    refused           requests that were not run, by why
    prediction        what runs took over what they were expected to take
    pressure          how long requests wait in the queue, over how long they may
    unserved          requests whose callers left while they waited for a run, or whose run failed
    of_model          what is asked of its instances; None while it has none
    of_code           what is asked of the threads that its code runs on; None until it has run
    fills             what padding added, by what was padded: "length" or "rows"
    restarts          how often the process that the model runs in was started again
    stage_times       of stages that other processes did
    """

    inference_count: int = 0
    execution_count: int = 0
    success: Span = field(default_factory=Span)
    fail: Span = field(default_factory=Span)
    queue: Span = field(default_factory=Span)
    compute_input: Span = field(default_factory=Span)
    compute_infer: Span = field(default_factory=Span)
    compute_output: Span = field(default_factory=Span)
    batches: dict[int, BatchSpans] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAILURES, 0))
    pending: int = 0
    last_inference: int = 0
    load_seconds: float = 0.0
    request_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    queue_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    compute_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    rows: Histogram = field(default_factory=lambda: Histogram(ROWS))
    stage_s: dict[str, Histogram] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEFT, 0))
    small: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SMALL, 0))
    refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REFUSED, 0))
    prediction: Histogram = field(default_factory=lambda: Histogram(RATIOS))
    pressure: Pressure = field(default_factory=Pressure)
    unserved: int = 0
    of_model: Demand | None = None
    of_code: Demand | None = None
    fills: dict[str, Fill] = field(default_factory=dict)
    restarts: int = 0
    stage_times: dict[str, StageTimes] = field(default_factory=dict)

    @property
    def measure(self) -> Measure:
        """What its saturation is made of."""
        return Measure([each for each in (self.of_model, self.of_code) if each is not None], self.pressure)

    def ran(self, requests: int, rows: int, input_ns: int, infer_ns: int, output_ns: int) -> None:
        """One run is over; the three times are its own. It comes with every run, so it calls little."""
        self.inference_count += rows
        self.execution_count += 1
        span = self.compute_input
        span.count += requests
        span.ns += input_ns * requests
        span = self.compute_infer
        span.count += requests
        span.ns += infer_ns * requests
        span = self.compute_output
        span.count += requests
        span.ns += output_ns * requests
        spans = self.batches.get(rows) or self.batch(rows)
        span = spans.compute_input
        span.count += 1
        span.ns += input_ns
        span = spans.compute_infer
        span.count += 1
        span.ns += infer_ns
        span = spans.compute_output
        span.count += 1
        span.ns += output_ns

    def ran_alone(
        self, rows: int, waited_ns: int, whole_s: float | None, input_ns: int, infer_ns: int, output_ns: int
    ) -> None:
        """One run of one request is over, which took so long in all; None: another counts that.

        The same as `ran` and the histograms beside it, in one call: with one client it comes every time.
        """
        self.inference_count += rows
        self.execution_count += 1
        span = self.queue
        span.count += 1
        span.ns += waited_ns
        span = self.compute_input
        span.count += 1
        span.ns += input_ns
        span = self.compute_infer
        span.count += 1
        span.ns += infer_ns
        span = self.compute_output
        span.count += 1
        span.ns += output_ns
        spans = self.batches.get(rows) or self.batch(rows)
        span = spans.compute_input
        span.count += 1
        span.ns += input_ns
        span = spans.compute_infer
        span.count += 1
        span.ns += infer_ns
        span = spans.compute_output
        span.count += 1
        span.ns += output_ns
        value = waited_ns / 1e9
        histogram = self.queue_s
        histogram.counts[bisect_left(SECONDS, value)] += 1
        histogram.total += value
        value = infer_ns / 1e9
        histogram = self.compute_s
        histogram.counts[bisect_left(SECONDS, value)] += 1
        histogram.total += value
        if whole_s is not None:
            span = self.success
            span.count += 1
            span.ns += int(whole_s * 1e9)
            histogram = self.request_s
            histogram.counts[bisect_left(SECONDS, whole_s)] += 1
            histogram.total += whole_s
        histogram = self.rows
        histogram.counts[bisect_left(ROWS, rows)] += 1
        histogram.total += rows

    def failed(self, reason: str, ns: int) -> None:
        """One request failed after it was scheduled, `ns` after it arrived."""
        self.fail.add(1, ns)
        self.failures[reason] += 1

    def batch(self, rows: int) -> BatchSpans:
        """The spans of runs with so many rows."""
        spans = self.batches.get(rows)
        if spans is None:
            spans = self.batches[rows] = BatchSpans()
        return spans

    def stage(self, name: str) -> Histogram:
        """The times of the pre or post stage."""
        spans = self.stage_s.get(name)
        if spans is None:
            spans = self.stage_s[name] = Histogram(SECONDS)
        return spans

    def times(self, stage: str) -> StageTimes:
        """The times of a stage that other processes do."""
        times = self.stage_times.get(stage)
        if times is None:
            times = self.stage_times[stage] = StageTimes()
        return times

    def fill(self, by: str) -> Fill:
        """What was added to pad the length of requests or the rows of runs."""
        fill = self.fills.get(by)
        if fill is None:
            fill = self.fills[by] = Fill()
        return fill

    def uncount(self, pieces: int) -> None:
        """So many that their runs have counted as requests were only parts of one; their times stay."""
        for span in (self.queue, self.compute_input, self.compute_infer, self.compute_output):
            span.count -= pieces
