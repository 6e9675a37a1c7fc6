"""The metrics port: /metrics as Prometheus scrapes it, and how this process is.

Where a port is shared, nobody can ask one process there how it is: this port is its own.
"""

from typing import Any

from prometheus_client import CollectorRegistry

from server.api.reply import Table, refuse
from server.domain.errors import ServingError
from server.domain.health import Health
from server.observe.metrics import CONTENT_TYPE, exposition
from server.security.calls import METRICS
from server.security.gate import Gate

JSON = "application/json"


class MetricsDoor:
    """An ASGI app. /metrics is made anew at each scrape; /v2/health/NAME is 200 or 503, without a body."""

    def __init__(self, registry: CollectorRegistry, health: Health, gate: Gate, codes: Table) -> None:
        self._registry = registry
        self._health = health
        self._gate = gate
        self._codes = codes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/metrics" and not self._gate.is_open:
            try:
                await self._gate.admit(METRICS, scope["headers"])
            except ServingError as error:
                refused, headers, body = refuse(error, self._codes)
                await send({"type": "http.response.start", "status": refused, "headers": headers})
                await send({"type": "http.response.body", "body": body})
                return
        status, kind, body = self._answer(scope["method"], scope["path"])
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        health = self._health
        states = {
            "/v2/health/started": lambda: health.started,
            "/v2/health/live": lambda: health.live,
            "/v2/health/ready": lambda: health.ready,
        }
        if path != "/metrics" and path not in states:
            return 404, JSON, b'{"error":"the metrics are at /metrics"}'
        if method not in ("GET", "HEAD"):
            return 405, JSON, b'{"error":"use GET"}'
        if path in states:
            return 200 if states[path]() else 503, JSON, b""
        return 200, CONTENT_TYPE, exposition(self._registry)
