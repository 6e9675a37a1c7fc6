"""What runs have added to the tally of their model version.

A run of one request is the commonest, and counting it changes thirty numbers: it is noted as one row, and
many such rows are counted at once. Whoever reads has them counted first, so nobody sees the difference; to
whoever adds something else, the order does not matter. Durations are nanoseconds, as in Triton's statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from server.observe.histogram import RATIOS, ROWS, SECONDS, Histogram
from server.observe.pressure import Pressure

LoneRun = tuple[int, int, float, int, int, int, int, float, float, str, float]
"""A run of one request that was answered, as `RunCounts.add_lone` reads it."""

LEFT = ("full", "preferred", "delay", "idle", "deadline")
"""Why a batch left when it did, in the words of `server.scheduling.rule`."""


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


@dataclass(slots=True)
class RunCounts:
    """Triton's counters of the runs of one version and of the requests in them, and our histograms.

    inference_count   rows that were run
    execution_count   runs
    success … compute_output   per request: count of requests and the sum of their times
    batches           the times of runs, by their rows
    last_inference    milliseconds since the epoch; 0 for never
    left              batches, by why they left
    prediction        what runs took over what they were expected to take
    pressure          how long requests wait in the queue, over how long they may
    """

    inference_count: int = 0
    execution_count: int = 0
    success: Span = field(default_factory=Span)
    queue: Span = field(default_factory=Span)
    compute_input: Span = field(default_factory=Span)
    compute_infer: Span = field(default_factory=Span)
    compute_output: Span = field(default_factory=Span)
    batches: dict[int, BatchSpans] = field(default_factory=dict)
    last_inference: int = 0
    request_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    queue_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    compute_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    rows: Histogram = field(default_factory=lambda: Histogram(ROWS))
    left: dict[str, int] = field(default_factory=lambda: dict.fromkeys(LEFT, 0))
    prediction: Histogram = field(default_factory=lambda: Histogram(RATIOS))
    pressure: Pressure = field(default_factory=Pressure)

    def ran_alike(self, runs: int, requests: int, rows: int, infer_ns: int) -> None:
        """So many runs are over, each of so many requests and rows; `infer_ns` is what all of them took."""
        self.inference_count += rows * runs
        self.execution_count += runs
        self.compute_input.count += requests * runs
        self.compute_infer.add(requests * runs, requests * infer_ns)
        self.compute_output.count += requests * runs
        spans = self.batch(rows)
        spans.compute_input.count += runs
        spans.compute_infer.add(runs, infer_ns)
        spans.compute_output.count += runs

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

    def batch(self, rows: int) -> BatchSpans:
        """The spans of runs with so many rows."""
        spans = self.batches.get(rows)
        if spans is None:
            spans = self.batches[rows] = BatchSpans()
        return spans

    def add_lone(self, runs: Sequence[LoneRun]) -> None:
        """Runs of one request each, at least one, in the order in which they ended. Of each:

        its rows; when the request joined the queue, and when it arrived, in seconds, or 0 if another counts
        that or its caller has left; when gathering its input began, when the model began and when it ended;
        when it was told; how long the run was expected to take, and how long it may have waited, both 0 for
        unknown; why it left; and when it ended in seconds since the epoch.
        """
        rows, queued, arrived, began, inferred, ended, told, expected, patience, why, at = zip(
            *runs, strict=True
        )
        waits = [start - join for start, join in zip(began, queued, strict=True)]
        inputs = [model - start for model, start in zip(inferred, began, strict=True)]
        infers = [end - model for end, model in zip(ended, inferred, strict=True)]
        outputs = [tell - end for tell, end in zip(told, ended, strict=True)]
        self.inference_count += sum(rows)
        self.execution_count += len(runs)
        self.queue.add(len(runs), sum(waits))
        self.compute_input.add(len(runs), sum(inputs))
        self.compute_infer.add(len(runs), sum(infers))
        self.compute_output.add(len(runs), sum(outputs))
        self._add_by_rows(rows, inputs, infers, outputs)
        self.rows.add_each(rows)
        self.queue_s.add_each([wait / 1e9 for wait in waits])
        self.compute_s.add_each([infer / 1e9 for infer in infers])
        wholes = [tell / 1e9 - came for tell, came in zip(told, arrived, strict=True) if came]
        self.success.add(len(wholes), sum([int(whole * 1e9) for whole in wholes]))
        self.request_s.add_each(wholes)
        self.prediction.add_each(
            [(end - start) / ns for end, start, ns in zip(ended, began, expected, strict=True) if ns]
        )
        for each in set(why):
            self.left[each] += why.count(each)
        self.last_inference = max(self.last_inference, int(at[-1] * 1000))
        self.pressure.note_each(
            [(wait / ns, tell) for wait, ns, tell in zip(waits, patience, told, strict=True) if ns]
        )

    def _add_by_rows(
        self, rows: Sequence[int], inputs: Sequence[int], infers: Sequence[int], outputs: Sequence[int]
    ) -> None:
        """The times of runs, each of so many rows; mostly all have the same."""
        if rows.count(rows[0]) == len(rows):
            spans = self.batch(rows[0])
            spans.compute_input.add(len(rows), sum(inputs))
            spans.compute_infer.add(len(rows), sum(infers))
            spans.compute_output.add(len(rows), sum(outputs))
            return
        for size, before, during, after in zip(rows, inputs, infers, outputs, strict=True):
            spans = self.batches.get(size) or self.batch(size)
            spans.compute_input.add(1, before)
            spans.compute_infer.add(1, during)
            spans.compute_output.add(1, after)
