"""One line per request, written off the request's path."""

import asyncio
import io
import json
import threading
import time
from datetime import datetime

from server.observe.access import AT_ONCE, LONGEST_ID, LONGEST_NAME, MOST_WRITES, AccessLog
from tests.lifecycle.waiting import until


def note(log: AccessLog, request_id: str = "7", **odd: str) -> None:
    arrived = time.monotonic()
    names = {"door": "http", "peer": "10.0.0.1", "model": "m", "version": "2"} | odd
    what = (request_id, names["door"], names["model"], names["version"], 3, 200)
    log.record((arrived, arrived + 0.004, names["peer"], what, 8, 1_500, 2_500_999))


class StuckStream(io.StringIO):
    """A reader that has stopped reading, until the gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.entered = threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        self.gate.wait(10)
        return super().write(text)


async def test_a_line_holds_what_an_operator_asks_of_a_request():
    stream = io.StringIO()
    with AccessLog(stream) as log:
        note(log)
    line = json.loads(stream.getvalue())
    assert abs(datetime.fromisoformat(line.pop("at")).timestamp() - time.time()) < 60
    assert 3_999 <= line.pop("total_us") <= 4_000
    assert line == {
        "event": "request",
        "request_id": "7",
        "door": "http",
        "peer": "10.0.0.1",
        "model": "m",
        "version": "2",
        "rows": 3,
        "batch_rows": 8,
        "queue_us": 1,
        "compute_us": 2500,
        "status": 200,
    }


async def test_what_a_caller_makes_up_is_cut():
    stream = io.StringIO()
    with AccessLog(stream) as log:
        note(log, "i" * 5000, model="m" * 5000)
    line = json.loads(stream.getvalue())
    assert (len(line["request_id"]), len(line["model"])) == (LONGEST_ID, LONGEST_NAME)


async def test_what_has_gathered_before_the_end_is_written_at_the_end_in_order():
    stream = io.StringIO()
    with AccessLog(stream, gather_s=3600) as log:
        for number in range(1000):
            note(log, str(number))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["request_id"] for line in lines] == [str(number) for number in range(1000)]
    assert log.dropped == 0


async def test_lines_are_written_while_requests_go_on():
    stream = io.StringIO()
    with AccessLog(stream) as log:
        for written in (1, 2):
            note(log)
            await until(lambda written=written: stream.getvalue().count("\n") == written)


async def test_a_rush_does_not_wait_for_more_to_come():
    stream = io.StringIO()
    with AccessLog(stream, gather_s=3600) as log:
        for _ in range(AT_ONCE + 1):
            note(log)
        await until(lambda: stream.getvalue().count("\n") == AT_ONCE + 1)


async def test_whatever_a_client_puts_into_an_id_or_a_name_stays_one_line_of_json():
    stream = io.StringIO()
    odd = '"}\n{"event": "request"}\r\u2028\x00 é'
    with AccessLog(stream) as log:
        note(log, odd, peer=odd, model=odd, version=odd)
    (line,) = stream.getvalue().splitlines()
    assert [json.loads(line)[name] for name in ("request_id", "peer", "model", "version")] == [odd] * 4


async def test_a_rush_beyond_the_bound_is_dropped_and_counted():
    stream = io.StringIO()
    with AccessLog(stream, max_waiting=5) as log:
        for _ in range(8):
            note(log)
    assert (log.dropped, stream.getvalue().count("\n")) == (3, 5)


async def test_when_nobody_reads_the_log_lines_are_dropped_and_counted_and_nobody_waits():
    stream = StuckStream()
    with AccessLog(stream, gather_s=0) as log:
        note(log)
        await asyncio.to_thread(stream.entered.wait, 10)
        for _ in range(MOST_WRITES + 3):
            note(log)
            await asyncio.sleep(0.0001)  # each is a write of its own
        assert log.dropped == 3
        stream.gate.set()
    assert stream.getvalue().count("\n") == 1 + MOST_WRITES


async def test_a_stream_that_is_closed_costs_lines_and_not_the_server():
    stream = io.StringIO()
    stream.close()
    with AccessLog(stream) as log:
        note(log)
        note(log)


async def test_leaving_the_log_ends_its_thread():
    before = set(threading.enumerate())
    with AccessLog(io.StringIO()):
        assert len(set(threading.enumerate()) - before) == 1
    assert set(threading.enumerate()) <= before
