"""Settings over HTTP: the log, a model's scheduling, the traces, and what answers for what is not offered."""

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from server.api.body import read_body
from server.api.trace_settings import TraceSettings
from server.domain.absent import check_region, no_shared_memory
from server.domain.scheduling import Schedules
from server.observe.logs import ProcessLog
from server.wire import log_settings, scheduling, trace_settings

READ_AND_CHANGE = ["GET", "POST"]


def add_settings(
    app: FastAPI, log: ProcessLog, schedules: Schedules, traces: TraceSettings, max_body_bytes: int
) -> None:
    _add_logging(app, log, max_body_bytes)
    _add_scheduling(app, schedules, max_body_bytes)
    _add_tracing(app, traces, max_body_bytes)
    for kind in ("system", "cuda"):
        _add_shared_memory(app, kind)


def _add_logging(app: FastAPI, log: ProcessLog, max_body_bytes: int) -> None:
    @app.api_route("/v2/logging", methods=READ_AND_CHANGE)
    async def logging(request: Request) -> Response:
        if request.method == "POST":
            body = await read_body(request.receive, dict(request.scope["headers"]), max_body_bytes)
            changed = log_settings.decode(body, log.settings)
            if changed != log.settings:
                log.change(changed)
        return JSONResponse(log_settings.log_settings(log.settings))


def _add_scheduling(app: FastAPI, schedules: Schedules, max_body_bytes: int) -> None:
    """As with the log, the control mode does not matter: nothing comes or goes."""

    @app.api_route("/v2/models/{model}/scheduling", methods=READ_AND_CHANGE)
    async def model_scheduling(model: str, request: Request) -> Response:
        if request.method == "POST":
            body = await read_body(request.receive, dict(request.scope["headers"]), max_body_bytes)
            return JSONResponse(scheduling.scheduling(schedules.change(model, scheduling.decode(body))))
        return JSONResponse(scheduling.scheduling(schedules.of(model)))


def _add_tracing(app: FastAPI, traces: TraceSettings, max_body_bytes: int) -> None:
    """A model's versions have no trace settings of their own: with a version, there is nothing there."""

    @app.api_route("/v2/trace/setting", methods=READ_AND_CHANGE)
    @app.api_route("/v2/models/{model}/trace/setting", methods=READ_AND_CHANGE)
    async def trace_setting(request: Request, model: str = "") -> Response:
        if request.method == "POST":
            body = await read_body(request.receive, dict(request.scope["headers"]), max_body_bytes)
            sampling = traces.change(trace_settings.decode(body), model)
        else:
            sampling = traces.of(model)
        return JSONResponse(trace_settings.trace_settings(sampling, traces.mode))


def _add_shared_memory(app: FastAPI, kind: str) -> None:
    """As Triton answers where clients may not use it: no region is there, and none can be registered."""
    memory = f"/v2/{kind}sharedmemory"
    region_path = memory + "/region/{region}"

    @app.get(memory + "/status")
    @app.get(region_path + "/status")
    async def status(region: str = "") -> Response:
        check_region(kind, region)
        return JSONResponse([])

    @app.post(memory + "/register")
    @app.post(memory + "/unregister")
    @app.post(region_path + "/register")
    @app.post(region_path + "/unregister")
    async def registration() -> Response:
        raise no_shared_memory()
