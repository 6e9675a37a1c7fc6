"""Spans on their way to whoever collects them: a bounded queue, and a thread of its own that empties it.

Nothing waits for it. A span that finds the queue full is dropped, and so is what the collector does not take;
both are counted.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import monotonic

import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from server.observe.tracing.span import DoneSpan

log = structlog.get_logger(__name__)

MOST_WAITING = 8192
TOGETHER = 512
EVERY_S = 1.0

Send = Callable[[Sequence[DoneSpan]], bool]
"""Hands spans over; False, or any exception, if they were not taken. It may take its time."""


class Exporter:
    """`put` is for any thread; `close`, once, for its owner.

    sent      spans that were taken
    dropped   that found no place in the queue
    failed    that were not taken
    """

    def __init__(
        self,
        send: Send,
        abort: Callable[[], object] = lambda: None,
        *,
        most_waiting: int = MOST_WAITING,
        every_s: float = EVERY_S,
    ) -> None:
        """`abort` has a `send` that is under way come back soon."""
        self.sent = self.dropped = self.failed = 0
        self._does_well = True
        self._send = send
        self._abort = abort
        self._waiting: deque[DoneSpan] = deque()
        self._most_waiting = most_waiting
        self._every_s = every_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def put(self, span: DoneSpan) -> None:
        if len(self._waiting) >= self._most_waiting:
            self.dropped += 1
        else:
            self._waiting.append(span)

    def close(self, within_s: float) -> None:
        """Hand over what is left, for at most so long; the rest is dropped."""
        until = monotonic() + within_s
        self._closing.set()
        self._thread.join(within_s)
        if self._thread.is_alive():
            self._abort()
            self._thread.join(max(0.1, until - monotonic()))
        if self._waiting:
            self.dropped += len(self._waiting)
            log.warning("spans_dropped_at_the_end", spans=len(self._waiting))

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            self._empty()
        self._empty()

    def _empty(self) -> None:
        while self._waiting:
            together = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
            reason = "the collector did not take them"
            try:
                taken = self._send(together)
            except Exception as error:  # the collector's fault, or the way to it: requests do not suffer
                taken, reason = False, str(error) or type(error).__name__
            if taken:
                self.sent += len(together)
            else:
                self.failed += len(together)
                if self._does_well:  # said once, until it does well again: the metric counts the rest
                    log.warning("spans_not_taken", spans=len(together), reason=reason)
            self._does_well = taken


class ExportCollector(Collector):
    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    def collect(self) -> Iterator[Metric]:
        exporter, name = self._exporter, "tercet_trace_spans"
        spans = Metric(name, "Spans of sampled requests, by what became of them", "counter")
        for outcome, count in (
            ("sent", exporter.sent),
            ("dropped", exporter.dropped),
            ("failed", exporter.failed),
        ):
            spans.add_sample(f"{name}_total", {"outcome": outcome}, count)
        yield spans
