"""One line per request, written off the request's path."""

import io
import json
import threading
import time
from datetime import datetime

from server.observe.access import AccessLog

SOON_S = 0.01


def record(log: AccessLog, request_id: str = "7") -> None:
    log.record(request_id, "http", "10.0.0.1", "m", "2", 3, 8, 1_500, 2_500_999, 0.004, 200)


def test_a_line_holds_what_an_operator_asks_of_a_request():
    stream = io.StringIO()
    with AccessLog(stream) as log:
        record(log)
    line = json.loads(stream.getvalue())
    at = datetime.fromisoformat(line.pop("at"))
    assert abs(at.timestamp() - time.time()) < 60
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
        "total_us": 4000,
        "status": 200,
    }


def test_what_is_recorded_before_the_end_is_written_at_the_end():
    stream = io.StringIO()
    with AccessLog(stream, every_s=3600) as log:
        for number in range(1000):
            record(log, str(number))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["request_id"] for line in lines] == [str(number) for number in range(1000)]
    assert log.dropped == 0


def test_lines_are_written_while_requests_go_on():
    class Announcing(io.StringIO):
        written = threading.Event()

        def flush(self) -> None:
            self.written.set()

    stream = Announcing()
    with AccessLog(stream, every_s=SOON_S) as log:
        record(log)
        assert stream.written.wait(5)
        assert stream.getvalue().count("\n") == 1


def test_whatever_a_client_puts_into_an_id_or_a_name_stays_one_line_of_json():
    stream = io.StringIO()
    odd = '"}\n{"event": "request"}\r\u2028\x00 é'
    with AccessLog(stream) as log:
        log.record(odd, "grpc", odd, odd, odd, 1, 1, 0, 0, 0.0, 0)
    (line,) = stream.getvalue().splitlines()
    assert [json.loads(line)[name] for name in ("request_id", "peer", "model", "version")] == [odd] * 4


def test_when_the_log_cannot_keep_up_lines_are_dropped_and_counted_and_nobody_waits():
    class Stuck(io.StringIO):
        gate = threading.Event()
        entered = threading.Event()

        def write(self, text: str) -> int:
            self.entered.set()
            self.gate.wait(10)
            return super().write(text)

    stream = Stuck()
    with AccessLog(stream, max_waiting=5, every_s=SOON_S) as log:
        record(log)
        assert stream.entered.wait(5)
        for _ in range(8):
            record(log)
        assert log.dropped == 3
        stream.gate.set()
    assert stream.getvalue().count("\n") == 6


def test_a_stream_that_nobody_reads_any_more_costs_lines_and_not_the_server():
    stream = io.StringIO()
    stream.close()
    with AccessLog(stream) as log:
        record(log)
        record(log)
    assert log.dropped == 2


def test_leaving_the_log_ends_its_thread():
    with AccessLog(io.StringIO()):
        assert "access log" in [thread.name for thread in threading.enumerate()]
    assert "access log" not in [thread.name for thread in threading.enumerate()]
