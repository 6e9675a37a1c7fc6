"""A collector of OpenTelemetry on loopback: takes spans as OTLP over HTTP, and keeps them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    """As it came. `whose` is the process id of who sent it; ids are in hexadecimals, empty for none."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began: int
    ended: int
    kind: int
    attributes: dict[str, Any]
    links: tuple[str, ...]
    error: str
    whose: int


class Collector:
    """What has come by now, and in how many calls.

    answer   the status that it gives
    held     keeps answers back until it is set
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []
        self.answer = 200
        self.asked = 0
        self.held = threading.Event()
        self.held.set()

    def of(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def until(self, trace_id: str, many: int, name: str = "", within_s: float = 30.0) -> list[Span]:
        """The spans of a trace, once there are so many; with a name, so many of that one."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            found = self.of(trace_id)
            if len([span for span in found if name in ("", span.name)]) >= many:
                return found
            time.sleep(0.02)
        raise AssertionError(f"there came {sorted(span.name for span in self.of(trace_id))}")


@contextmanager
def collecting() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.asked += 1
            collector.held.wait(30)
            if self.path == "/v1/traces" and collector.answer == 200:
                collector.spans += _read(body)
            self.send_response(collector.answer)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector = Collector(server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        collector.held.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _read(body: bytes) -> list[Span]:
    found = []
    for whole in ExportTraceServiceRequest.FromString(body).resource_spans:
        whose = {each.key: each.value for each in whole.resource.attributes}["process.pid"].int_value
        for scope in whole.scope_spans:
            found += [
                Span(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    span.kind,
                    {
                        each.key: getattr(each.value, each.value.WhichOneof("value"))
                        for each in span.attributes
                    },
                    tuple(link.span_id.hex() for link in span.links),
                    span.status.message if span.status.code == 2 else "",
                    whose,
                )
                for span in scope.spans
            ]
    return found
