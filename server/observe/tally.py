"""What one model version has done so far, as plain numbers.

A tally belongs to its version. The event loop alone adds to it, a few times a run, and reads it for whoever
shows statistics or metrics. No lock, therefore. Durations are nanoseconds, as in Triton's statistics.

Much of it is noted first and counted later, many notes at once: what is done seldom finds a processor's
caches cold, and counting one answer of another tier touches fifty objects. Whoever reads has them counted.
"""

import threading
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, TypeVar

from server.observe.demand import Demand, Measure
from server.observe.histogram import SECONDS, Histogram
from server.observe.pressure import Pressure
from server.observe.run_counts import BatchSpans, RunCounts, Span

Row = TypeVar("Row")


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

SMALL = ("alone", "shapes", "fit", "preferred", "deadline", "unbatched")
"""Why a batch had fewer rows than the model takes, in the words of `server.scheduling.rule`."""

NOTED_AT_ONCE = 64
"""So many rows of one kind wait to be counted, at most: some 30 kB."""

REFUSED = ("requests", "bytes", "share", "late", "expired")
"""Why a request was refused, in the words of `server.scheduling.batcher`."""


@dataclass(slots=True)
class Tally:
    """Triton's counters of one version, and our histograms. What runs have added is read here, too.

    sums              what runs have added, but for what is only noted yet: add to it, and read `runs`
    failures          requests that failed after they were scheduled, by Triton's reason
    small             batches, by why they were small
    refused           requests that were not run, by why
    unserved          requests whose callers left while they waited for a run, or whose run failed
    of_model          what is asked of its instances; None while it has none
    of_code           what is asked of the threads that its code runs on; None until it has run
    fills             what padding added, by what was padded: "length" or "rows"
    restarts          how often the process that the model runs in was started again
    """

    fail: Span = field(default_factory=Span)
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAILURES, 0))
    load_seconds: float = 0.0
    small: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SMALL, 0))
    refused: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REFUSED, 0))
    unserved: int = 0
    of_model: Demand | None = None
    of_code: Demand | None = None
    fills: dict[str, Fill] = field(default_factory=dict)
    restarts: int = 0
    sums: RunCounts = field(default_factory=RunCounts)
    _queues: tuple[Sized, ...] = field(default=(), init=False)
    _stage_s: dict[str, Histogram] = field(default_factory=dict, init=False)
    _stage_times: dict[str, StageTimes] = field(default_factory=dict, init=False)
    _noted: dict[Callable[["Tally", Any], None], list[Any]] = field(default_factory=dict, init=False)

    @property
    def pending(self) -> int:
        """Requests that are accepted, and not yet running."""
        return sum([len(queue) for queue in self._queues])

    def opens(self, queue: Sized) -> None:
        """Requests wait there from now on."""
        self._queues += (queue,)

    def closes(self, queue: Sized) -> None:
        """None waits there any more, and none will."""
        self._queues = tuple([each for each in self._queues if each is not queue])

    @property
    def runs(self) -> RunCounts:
        """What all runs have added, those that were noted among them."""
        self._count_all()
        return self.sums

    @property
    def stage_s(self) -> Mapping[str, Histogram]:
        """The times of each stage that this process did, in seconds."""
        self._count_all()
        return self._stage_s

    @property
    def stage_times(self) -> Mapping[str, StageTimes]:
        """The times of each stage that other processes did."""
        self._count_all()
        return self._stage_times

    def note(self, count: Callable[["Tally", Sequence[Row]], None], row: Row) -> None:
        """Have `count` called later, with this row and others that were noted for it, at least one, in order.

        It adds to `sums`, `stage` and `times`, and must not raise.
        """
        rows = self._noted.get(count)
        if rows is None:
            self._noted[count] = [row]
            return
        rows.append(row)
        if len(rows) >= NOTED_AT_ONCE:
            del self._noted[count]
            count(self, rows)

    def _count_all(self) -> None:
        while self._noted:
            count, rows = self._noted.popitem()
            count(self, rows)

    @property
    def measure(self) -> Measure:
        """What its saturation is made of."""
        return Measure([each for each in (self.of_model, self.of_code) if each is not None], self.pressure)

    def failed(self, reason: str, ns: int) -> None:
        """One request failed after it was scheduled, `ns` after it arrived."""
        self.fail.add(1, ns)
        self.failures[reason] += 1

    def batch(self, rows: int) -> BatchSpans:
        """The spans of runs with so many rows."""
        return self.runs.batch(rows)

    def stage(self, name: str) -> Histogram:
        """The times of the pre or post stage, to be added to."""
        spans = self._stage_s.get(name)
        if spans is None:
            spans = self._stage_s[name] = Histogram(SECONDS)
        return spans

    def times(self, stage: str) -> StageTimes:
        """The times of a stage that other processes do, to be added to."""
        times = self._stage_times.get(stage)
        if times is None:
            times = self._stage_times[stage] = StageTimes()
        return times

    def fill(self, by: str) -> Fill:
        """What was added to pad the length of requests or the rows of runs."""
        fill = self.fills.get(by)
        if fill is None:
            fill = self.fills[by] = Fill()
        return fill

    def uncount(self, pieces: int) -> None:
        """So many that their runs have counted as requests were only parts of one; their times stay."""
        sums = self.sums
        for span in (sums.queue, sums.compute_input, sums.compute_infer, sums.compute_output):
            span.count -= pieces

    # What runs have added, as readers want it.

    @property
    def inference_count(self) -> int:
        return self.runs.inference_count

    @property
    def execution_count(self) -> int:
        return self.runs.execution_count

    @property
    def success(self) -> Span:
        return self.runs.success

    @property
    def queue(self) -> Span:
        return self.runs.queue

    @property
    def compute_input(self) -> Span:
        return self.runs.compute_input

    @property
    def compute_infer(self) -> Span:
        return self.runs.compute_infer

    @property
    def compute_output(self) -> Span:
        return self.runs.compute_output

    @property
    def batches(self) -> dict[int, BatchSpans]:
        return self.runs.batches

    @property
    def last_inference(self) -> int:
        return self.runs.last_inference

    @property
    def request_s(self) -> Histogram:
        return self.runs.request_s

    @property
    def queue_s(self) -> Histogram:
        return self.runs.queue_s

    @property
    def compute_s(self) -> Histogram:
        return self.runs.compute_s

    @property
    def rows(self) -> Histogram:
        return self.runs.rows

    @property
    def left(self) -> dict[str, int]:
        return self.runs.left

    @property
    def prediction(self) -> Histogram:
        return self.runs.prediction

    @property
    def pressure(self) -> Pressure:
        return self.runs.pressure
