"""How models came and went, over HTTP: events as JSON and as a stream, the history of a model, its labels."""

from collections.abc import Callable, Sequence

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from server.api.body import read_body
from server.api.event_stream import EventStream, Listening
from server.domain.history import Entry
from server.lifecycle.labels import Labels
from server.wire import events, history
from server.wire import labels as wire

HistoryOf = Callable[[str], Sequence[Entry]]
"""What a model has been through; raises `ModelNotFound`."""


def add_lifecycle(
    app: FastAPI, listening: Listening, labels: Labels, history_of: HistoryOf, max_body_bytes: int
) -> None:
    _add_events(app, listening)
    _add_history(app, labels, history_of)
    _add_labels(app, labels, max_body_bytes)


def _add_events(app: FastAPI, listening: Listening) -> None:
    chronicle = listening.chronicle

    @app.get("/v2/repository/events")
    async def happened(request: Request) -> Response:
        asked = events.read_query(request.query_params.multi_items())
        if asked.stream or "text/event-stream" in request.headers.get("accept", ""):
            return EventStream(listening, _begin(request, asked.since, chronicle.last), asked.model)
        if asked.since is None:
            page = chronicle.latest(asked.limit, asked.model)
        else:
            page = chronicle.since(asked.since, asked.limit, asked.model)
        return JSONResponse(
            {
                "events": [events.as_json(event) for event in page.events],
                "oldest": page.oldest,
                "last": page.last,
                "missed": page.missed,
                "more": page.more,
            }
        )


def _add_history(app: FastAPI, labels: Labels, history_of: HistoryOf) -> None:
    @app.get("/v2/repository/models/{model}/versions")
    async def versions(model: str) -> Response:
        entries = history_of(model)
        return JSONResponse(history.history(model, entries, labels.known(model)))


def _add_labels(app: FastAPI, labels: Labels, max_body_bytes: int) -> None:
    """In every control mode, as with a model's scheduling: a label loads nothing and unloads nothing."""

    @app.api_route("/v2/repository/models/{model}/labels", methods=["GET", "POST"])
    async def labelled(model: str, request: Request) -> Response:
        if request.method == "POST":
            body = await read_body(request.receive, dict(request.scope["headers"]), max_body_bytes)
            return JSONResponse(wire.labels(model, await labels.change(model, wire.decode(body))))
        return JSONResponse(wire.labels(model, labels.of(model)))


def _begin(request: Request, since: int | None, last: int) -> int:
    """Where a stream goes on: one that was cut off says so by itself; else as it asks, or from now on."""
    written = request.headers.get("last-event-id")
    if written:
        return events.read_number("the header Last-Event-ID", written)
    return last if since is None else since
