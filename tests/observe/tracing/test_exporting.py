"""Spans on their way to a collector: what a slow one and a broken one come to."""

import threading
import time

from server.observe.tracing.exporting import Exporter
from server.observe.tracing.span import DoneSpan

SPAN = DoneSpan(name="x", trace_id=1, span_id=2, parent_id=0, began=1, ended=2)


def test_what_finds_no_place_is_dropped_and_counted():
    go, asked = threading.Event(), threading.Event()

    def send(spans) -> bool:
        asked.set()
        return go.wait(30)

    exporter = Exporter(send, most_waiting=3, every_s=0.001)
    exporter.put(SPAN)
    assert asked.wait(30)
    for _ in range(5):
        exporter.put(SPAN)
    assert exporter.dropped == 2
    go.set()
    exporter.close(30)
    assert (exporter.sent, exporter.dropped, exporter.failed) == (4, 2, 0)


def test_a_send_that_fails_is_counted_and_the_next_is_tried():
    outcomes = iter([ValueError("no"), False, True])

    def send(spans) -> bool:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    exporter = Exporter(send, every_s=0.001)
    for count in (1, 2, 3):
        exporter.put(SPAN)
        until = time.monotonic() + 30
        while exporter.sent + exporter.failed < count and time.monotonic() < until:
            time.sleep(0.001)
    exporter.close(30)
    assert (exporter.sent, exporter.failed) == (1, 2)


def test_an_end_waits_no_longer_than_it_is_told():
    go = threading.Event()
    exporter = Exporter(lambda _: go.wait(30), go.set, every_s=0.001)
    exporter.put(SPAN)
    began = time.monotonic()
    exporter.close(0.05)
    assert time.monotonic() - began < 20
    assert go.is_set(), "the send that was under way was told"
