"""Everything over HTTP but inference itself: health, metadata, configuration, statistics, control, settings.

A FastAPI app for what is asked now and then. The inference path goes past it (`server.api.infer_door`);
every refusal, the framework's own too, has the one JSON shape of `server.api.reply`.
"""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from server.api.body import read_body
from server.api.counted import Statistics
from server.api.docs import add_docs
from server.api.event_stream import Listening
from server.api.http_gate import MAY_READ
from server.api.infer_door import InferDoor, target_of
from server.api.reply import Table, refuse
from server.api.rest_lifecycle import HistoryOf, add_lifecycle
from server.api.rest_settings import add_settings
from server.api.trace_settings import TraceSettings
from server.domain.catalogue import Catalogue
from server.domain.control import Control
from server.domain.errors import (
    InvalidRequest,
    MethodNotAllowed,
    ModelNotFound,
    ModelNotReady,
    NotSupported,
    RouteNotFound,
    ServingError,
)
from server.domain.health import Health
from server.domain.limits import Limits, check_name
from server.domain.scheduling import Schedules
from server.lifecycle.labels import Labels
from server.observe.logs import ProcessLog
from server.wire import configuration, control, metadata

MODEL = "/v2/models/{model}"
VERSION = MODEL + "/versions/{version}"


class HttpDoor:
    """The ASGI app: inference by the short way, all else by `rest`."""

    def __init__(self, infer: InferDoor, rest: Any) -> None:
        self._infer = infer
        self._rest = rest

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        target = target_of(scope["path"])
        if target is not None:
            await self._infer.answer(target, scope, receive, send)
        else:
            await self._rest(scope, receive, send)


class WithinLimits:
    """An ASGI app in front of another, that refuses names longer than the operator allows."""

    def __init__(self, app: Any, *, codes: Table, limits: Limits) -> None:
        self._app = app
        self._codes = codes
        self._limits = limits

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"]
        try:
            check_name(path.partition("/models/")[2].partition("/")[0], "the model", self._limits)
        except InvalidRequest as error:
            status, headers, body = refuse(error, self._codes)
            await Response(body, status, {key.decode(): value.decode() for key, value in headers})(
                scope, receive, send
            )
        else:
            await self._app(scope, receive, send)


def rest_app(
    catalogue: Catalogue,
    control_: Control,
    health: Health,
    *,
    name: str,
    version: str,
    extensions: Sequence[str],
    log: ProcessLog,
    traces: TraceSettings,
    schedules: Schedules,
    statistics: Statistics,
    chronicle: Listening,
    labels: Labels,
    history_of: HistoryOf,
    codes: Table,
    max_body_bytes: int,
    docs: bool,
) -> FastAPI:
    """The app, ready to serve. `extensions` are those that are on, by the protocol's names."""
    app = FastAPI(
        title="Tercet",
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a path that is not known is 404, and no redirect to whatever Host says
    )
    _speak_one_language(app, codes)
    _add_health(app, catalogue, health)
    _add_statistics(app, statistics)  # before metadata: /v2/models/stats is no model's name
    _add_metadata(app, catalogue, name, version, extensions)
    _add_control(app, catalogue, control_, max_body_bytes)
    _add_v1(app, catalogue)
    add_lifecycle(app, chronicle, labels, history_of, max_body_bytes)
    add_settings(app, log, schedules, traces, max_body_bytes)
    if docs:
        add_docs(app, catalogue, version)
    return app


def _speak_one_language(app: FastAPI, codes: Table) -> None:
    """Every refusal in the one JSON shape: ours, the framework's, and what nobody foresaw."""

    def respond(error: Exception) -> Response:
        status, headers, body = refuse(error, codes)
        return Response(body, status, {key.decode(): value.decode() for key, value in headers})

    async def ours(request: Request, error: Exception) -> Response:
        return respond(error)

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.scope["path"]  # as it was meant; that of `request.url` is quoted again, in part
        if error.status_code == 404:
            return respond(RouteNotFound(f"there is nothing at {path}"))
        if error.status_code == 405:
            known = (error.headers or {}).get("Allow", "another method")
            allowed = ", ".join(sorted(known.split(", ")))
            return respond(MethodNotAllowed(request.method, path, allowed))
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    app.add_exception_handler(ServingError, ours)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(Exception, ours)


def _add_health(app: FastAPI, catalogue: Catalogue, health: Health) -> None:
    @app.get("/v2/health/live")
    async def live() -> Response:
        return JSONResponse({"live": health.live}, 200 if health.live else 503)

    @app.get("/v2/health/ready")
    async def ready(request: Request) -> Response:
        if health.ready:
            return JSONResponse({"ready": True})
        why = health.reason if request.scope.get(MAY_READ, True) else "the server is not ready"
        return JSONResponse({"ready": False, "error": why}, 503 if health.leaving else 400)

    @app.get(MODEL + "/ready")
    @app.get(VERSION + "/ready")
    async def model_ready(model: str, version: str = "") -> Response:
        try:
            catalogue.facts(model, version).check()
        except (ModelNotFound, ModelNotReady) as error:
            return JSONResponse({"name": model, "ready": False, "error": str(error)}, 400)
        return JSONResponse({"name": model, "ready": True})


def _add_metadata(
    app: FastAPI, catalogue: Catalogue, name: str, version: str, extensions: Sequence[str]
) -> None:
    server_version = version

    @app.get("/v2")
    async def server_metadata() -> Response:
        return JSONResponse(metadata.server_metadata(name, server_version, extensions))

    @app.get("/")
    async def alive() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/v2/models")
    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"models": sorted({facts.model for facts in catalogue.all_facts()})})

    @app.get(MODEL)
    @app.get(VERSION)
    async def model_metadata(model: str, version: str = "") -> Response:
        facts = catalogue.facts(model, version)
        versions = [facts.version] if version else catalogue.ready_versions(model)
        return JSONResponse(metadata.model_metadata(facts, versions))

    @app.get(MODEL + "/config")
    @app.get(VERSION + "/config")
    async def model_config(model: str, version: str = "") -> Response:
        return JSONResponse(configuration.model_config(catalogue.facts(model, version)))


def _add_statistics(app: FastAPI, statistics: Statistics) -> None:
    @app.get("/v2/models/stats")
    async def all_statistics() -> Response:
        return JSONResponse(await statistics.of("", ""))

    @app.get(MODEL + "/stats")
    @app.get(VERSION + "/stats")
    async def model_statistics(model: str, version: str = "") -> Response:
        return JSONResponse(await statistics.of(model, version))


def _add_control(app: FastAPI, catalogue: Catalogue, orders: Control, max_body_bytes: int) -> None:
    async def body_of(request: Request) -> bytes:
        return await read_body(request.receive, dict(request.scope["headers"]), max_body_bytes)

    @app.post("/v2/repository/index")
    async def index(request: Request) -> Response:
        ready_only = control.decode_index(await body_of(request))
        return JSONResponse(metadata.repository_index(catalogue.index(), ready_only))

    @app.post("/v2/repository/models/{model}/load")
    async def load(model: str, request: Request) -> Response:
        overrides = control.decode_load(await body_of(request))
        await orders.load(model, overrides.config, overrides.files, overrides.version)
        return Response(status_code=200)

    @app.post("/v2/repository/models/{model}/unload")
    async def unload(model: str, request: Request) -> Response:
        asked = control.decode_unload(await body_of(request))
        await orders.unload(model, asked.version, dependents=asked.dependents)
        return Response(status_code=200)

    @app.post("/v2/repository/{repository}/index")
    @app.post("/v2/repository/{repository}/models/{model}/load")
    @app.post("/v2/repository/{repository}/models/{model}/unload")
    async def named_repository(repository: str, model: str = "") -> Response:
        raise NotSupported(f"naming a repository ('{repository}') is not supported: leave it out of the path")


def _add_v1(app: FastAPI, catalogue: Catalogue) -> None:
    """KServe's V1 but for its predictions, which go the way of all inference."""

    @app.post("/v1/models/{model}:explain")
    async def explain(model: str) -> Response:
        raise NotSupported(f"explanations are not offered, of model '{model}' or any other")

    @app.get("/v1/models/{model}")
    async def ready(model: str) -> Response:
        try:
            catalogue.facts(model).check()
        except (ModelNotFound, ModelNotReady) as error:
            if all(status.model != model for status in catalogue.index()):
                raise
            return JSONResponse({"name": model, "ready": False, "error": str(error)}, 503)
        return JSONResponse({"name": model, "ready": True})
