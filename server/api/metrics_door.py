"""The metrics port: one path, as Prometheus scrapes it."""

from typing import Any

from prometheus_client import CollectorRegistry

from server.observe.metrics import CONTENT_TYPE, exposition


class MetricsDoor:
    """An ASGI app that answers GET /metrics, made anew at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != "/metrics":
            status, kind, body = 404, "application/json", b'{"error":"the metrics are at /metrics"}'
        elif scope["method"] not in ("GET", "HEAD"):
            status, kind, body = 405, "application/json", b'{"error":"use GET"}'
        else:
            status, kind, body = 200, CONTENT_TYPE, exposition(self._registry)
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
