"""The doors of one process: each is made of the options that concern it, and served by a task of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as installed_version
from typing import Any

import structlog
from prometheus_client.registry import Collector

from server.api.client_key import ClientHeader
from server.api.counted import Statistics
from server.api.departure import Departure, FrontDeparture, GrpcDeparture, HttpDeparture
from server.api.event_stream import Listening
from server.api.familiar import Familiars
from server.api.forwarding import HeaderForwarding
from server.api.grpc_door import GrpcDoor
from server.api.grpc_front import InferFront
from server.api.grpc_gate import GrpcGate
from server.api.grpc_health import HealthDoor
from server.api.grpc_server import Service, grpcio_server
from server.api.grpc_stream import InferStreams
from server.api.grpc_transport import Transport
from server.api.heads import Heads, Targets
from server.api.http_gate import HttpGate
from server.api.http_server import bind, serve_http
from server.api.infer_door import InferDoor
from server.api.loop_tls import LoopTls
from server.api.metrics_door import MetricsDoor
from server.api.port_sharing import until_listening
from server.api.refusals import Refusals
from server.api.reply import Table
from server.api.rest import HttpDoor, WithinLimits, rest_app
from server.api.rest_lifecycle import HistoryOf
from server.api.short_way import ConnectionLimits, ShortWay
from server.api.trace_settings import TraceSettings
from server.app.grpc_choice import chosen_by
from server.app.security import Security
from server.domain.catalogue import Catalogue
from server.domain.control import Control
from server.domain.health import Health
from server.domain.limits import Limits
from server.domain.phase import Station
from server.domain.scheduling import Schedules
from server.domain.state import UNLOADED, State
from server.lifecycle.events import Chronicle
from server.lifecycle.labels import Labels
from server.observe.access import AccessLog
from server.observe.audit import AuditLog
from server.observe.event_loop import EventLoopDelay
from server.observe.gpu import Gpus
from server.observe.index import IndexCollector, Indexed
from server.observe.logs import ProcessLog
from server.observe.metrics import (
    MachineCollector,
    Measured,
    PassageCollector,
    ProcessCollector,
    TallyCollector,
    registry,
)
from server.observe.process import IdentityCollector, resources
from server.observe.refusals import RefusalCollector
from server.observe.tagged import Tagged, Tags
from server.observe.tracing.exporting import ExportCollector
from server.observe.tracing.tracer import Tracer
from server.settings import Settings
from server.stages.route import Route
from server.wire.codes import CODES, TRITON_CODES

log = structlog.get_logger(__name__)

EXTENSIONS = (
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "logging",
)
"""Of the protocol's extensions, those that are always on."""


def listen(settings: Settings, parts: AsyncExitStack) -> dict[str, socket.socket]:
    """The sockets of the doors that are open. Raises `PortTaken`."""
    metrics_address = settings.metrics_address or settings.http_address
    wanted = {
        "http": (settings.allow_http, settings.http_address, settings.http_port, settings.reuse_http_port),
        "grpc": (settings.allow_grpc, settings.grpc_address, settings.grpc_port, settings.reuse_grpc_port),
        "metrics": (settings.allow_metrics, metrics_address, settings.metrics_port, False),
    }
    listeners = {}
    for door, (is_open, address, port, shared) in wanted.items():
        if is_open:
            listeners[door] = bind(address, port, shared=shared)
            parts.callback(listeners[door].close)
    return listeners


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What the doors of a process stand before: whom they ask, and what is shown as metrics.

    history_of   what became of the versions of a model
    collectors   beside those that every process has
    services     of gRPC, beside those for clients
    """

    route: Route
    catalogue: Catalogue
    control: Control
    schedules: Schedules
    statistics: Statistics
    labels: Labels
    history_of: HistoryOf
    events: Chronicle
    health: Health
    collectors: Sequence[Collector]
    services: Sequence[Service] = ()


class Doors:
    """HTTP, gRPC and metrics, over one process's parts. They finish and close once `closing` is set.

    A door whose port is shared stays shut until `begin`, as clients would otherwise come here to models that
    are still loading, while another process has them.
    """

    def __init__(
        self,
        settings: Settings,
        station: Station,
        closing: asyncio.Event,
        behind: Behind,
        process_log: ProcessLog,
        security: Security,
        audit: AuditLog,
    ) -> None:
        self._settings = settings
        self._security = security
        self._audit = audit
        self._station = station
        self._closing = closing
        self._behind = behind
        self._log = process_log
        self._begin = asyncio.Event()
        self._departures: dict[int, Departure] = {}

    async def begin(self) -> None:
        """Open the doors whose ports are shared; back when they listen."""
        self._begin.set()
        for port in self._departures:
            await until_listening(port)

    async def leave(self, within_s: float) -> None:
        """Be here no more than `within_s`: no longer than clients need, where all ports are shared."""
        if self._begin.is_set():
            async with asyncio.TaskGroup() as leaving:
                for each in self._departures.values():
                    leaving.create_task(each.leave(within_s))
                if not self._departures or not self._shares_all:
                    leaving.create_task(asyncio.sleep(within_s))
        self._begin.set()

    @property
    def _shares_all(self) -> bool:
        settings = self._settings
        return (settings.reuse_http_port or not settings.allow_http) and (
            settings.reuse_grpc_port or not settings.allow_grpc
        )

    def open(
        self,
        tasks: asyncio.TaskGroup,
        listeners: dict[str, socket.socket],
        access: AccessLog | None,
        tracer: Tracer | None,
    ) -> None:
        """Serve each listener by a task. Raises `GrpcFrontRefused` for a front that cannot be had."""
        settings, security = self._settings, self._security
        tasks.create_task(security.keep_up(self._closing), name="keys and certificates")
        table = CODES if settings.overload_status == "tercet" else TRITON_CODES
        codes, grpc_codes = Refusals(table), Refusals(table)
        behind = self._behind
        route, health = behind.route, behind.health
        limits = self._limits()
        about: dict[str, Any] = {
            "name": settings.id,
            "version": installed_version("tercet"),
            "extensions": EXTENSIONS if tracer is None else (*EXTENSIONS, "trace"),
            "log": self._log,
            "traces": TraceSettings(tracer, behind.catalogue),
            "codes": codes,
            "statistics": behind.statistics,
        }
        if "http" in listeners:
            limit = settings.http_max_input_size
            infer = InferDoor(
                route,
                self._station,
                access,
                codes=codes,
                max_body_bytes=limit,
                limits=limits,
                forwarding=_forwarding(settings.http_header_forward_pattern),
                client_header=self._client_header(),
                gate=None if security.http.is_open else security.http,
                tracer=tracer,
            )
            rest = rest_app(
                behind.catalogue,
                behind.control,
                health,
                schedules=behind.schedules,
                labels=behind.labels,
                history_of=behind.history_of,
                chronicle=Listening(behind.events, self._closing, settings.max_event_listeners),
                max_body_bytes=limit,
                docs=settings.docs,
                **about,
            )
            targets = Targets(longest_name=limits.name_length)
            short_way = partial(ShortWay, infer, targets, Heads(), Familiars(), self._connection_limits())
            within = WithinLimits(rest, codes=codes, limits=limits)
            app = HttpDoor(infer, HttpGate(within, security.http, self._audit, codes))
            departure = None
            if settings.reuse_http_port:
                port = listeners["http"].getsockname()[1]
                self._departures[port] = departure = HttpDeparture(port)
            tasks.create_task(
                self._http(app, short_way, listeners["http"], security.http_tls, departure), name="HTTP door"
            )
        if "metrics" in listeners:
            delay, gpus = EventLoopDelay(), Gpus()
            tasks.create_task(delay.watch(self._closing), name="event loop's delay")
            if settings.allow_gpu_metrics:
                tasks.create_task(gpus.watch(self._closing), name="GPUs")
            shown = registry(
                (
                    IdentityCollector(about["version"], settings.role),
                    resources(),
                    delay,
                    gpus,
                    RefusalCollector({"http": codes.told, "grpc": grpc_codes.told}),
                    IndexCollector(lambda: index_of(behind.catalogue)),
                    TallyCollector(lambda: versions_of(behind.catalogue)),
                    ProcessCollector(lambda: access.dropped if access else 0),
                    *(
                        Tagged(collector, lambda: tags_of(behind.catalogue))
                        for collector in (*behind.collectors, PassageCollector(behind.events.passages.all))
                    ),
                    *([MachineCollector()] if settings.allow_cpu_metrics else []),
                    *([ExportCollector(tracer.exporter)] if tracer is not None else []),
                )
            )
            metrics = MetricsDoor(shown, health, security.metrics, codes)
            tasks.create_task(
                self._http(metrics, "httptools", listeners["metrics"], security.metrics_tls),
                name="metrics door",
            )
        if "grpc" in listeners:
            forwarding = _forwarding(settings.grpc_header_forward_pattern)
            streams = InferStreams(
                route,
                self._station,
                access,
                self._closing,
                codes=grpc_codes,
                max_streams=settings.grpc_max_infer_streams,
                max_requests=settings.grpc_max_stream_requests,
                unread_s=settings.grpc_stream_unread_secs,
                limits=limits,
                forwarding=forwarding,
                client_header=self._client_header(),
                gate=None if security.grpc.is_open else security.grpc,
                tracer=tracer,
            )
            door = GrpcDoor(
                route,
                behind.catalogue,
                behind.control,
                health,
                self._station,
                access,
                stream_infer=streams.answer,
                limits=limits,
                audit=self._audit,
                forwarding=forwarding,
                client_header=self._client_header(),
                tracer=tracer,
                **(about | {"codes": grpc_codes}),
            )
            watched = HealthDoor(health, self._closing)
            transport = self._transport()
            front = self._grpc_front(route, access, grpc_codes, transport, limits, forwarding, tracer)
            if settings.reuse_grpc_port:
                port = listeners["grpc"].getsockname()[1]
                self._departures[port] = (
                    GrpcDeparture(port, is_plain=security.grpcio_tls is None)
                    if front is None
                    else FrontDeparture(port, front)
                )
            tasks.create_task(
                self._grpc(door, front, watched, transport, listeners["grpc"], self._grpc_gate(grpc_codes)),
                name="gRPC door",
            )

    def _client_header(self) -> ClientHeader | None:
        name = self._settings.fairness_header
        return ClientHeader(name) if name else None

    def _limits(self) -> Limits:
        settings = self._settings
        return Limits(
            name_length=settings.max_name_length,
            id_length=settings.max_request_id_length,
            string_length=settings.max_string_parameter_length,
            parameters=settings.max_request_parameters,
            tensors=settings.max_request_tensors,
            elements=settings.max_tensor_elements,
            json_depth=settings.http_max_json_depth,
        )

    def _connection_limits(self) -> ConnectionLimits:
        settings = self._settings
        return ConnectionLimits(
            head_bytes=settings.http_max_header_bytes,
            headers=settings.http_max_headers,
            chunks=settings.http_max_chunks,
            connections=settings.http_max_connections,
            request_s=settings.http_request_timeout_secs,
        )

    def _grpc_front(
        self,
        route: Route,
        access: AccessLog | None,
        codes: Table,
        transport: Transport,
        limits: Limits,
        forwarding: HeaderForwarding | None,
        tracer: Tracer | None,
    ) -> InferFront | None:
        """What answers `ModelInfer` before grpcio; None where grpcio does it all. The log says why."""
        chosen = chosen_by(self._settings)
        log.info("grpc_front", front=chosen.front, why=chosen.why)
        if chosen.front == "grpcio":
            return None
        return InferFront(
            route,
            self._station,
            access,
            codes=codes,
            transport=transport,
            max_message_bytes=self._settings.grpc_max_message_bytes,
            max_in_flight=self._settings.grpc_max_in_flight,
            limits=limits,
            forwarding=forwarding,
            client_header=self._client_header(),
            gate=None if self._security.grpc.is_open else self._security.grpc,
            tracer=tracer,
        )

    def _transport(self) -> Transport:
        settings = self._settings
        return Transport(
            max_concurrent_streams=settings.grpc_max_concurrent_streams,
            keepalive_time_ms=settings.grpc_keepalive_time,
            keepalive_timeout_ms=settings.grpc_keepalive_timeout,
            keepalive_without_calls=settings.grpc_keepalive_permit_without_calls,
            max_pings_without_data=settings.grpc_http2_max_pings_without_data,
            min_ping_interval_ms=settings.grpc_http2_min_recv_ping_interval_without_data,
            max_ping_strikes=settings.grpc_http2_max_ping_strikes,
            max_age_ms=settings.grpc_max_connection_age,
            max_age_grace_ms=settings.grpc_max_connection_age_grace,
            compression=settings.grpc_infer_response_compression_level,
        )

    def _grpc_gate(self, codes: Table) -> GrpcGate | None:
        """The tiers' own service stays open where this process is a tier: only tiers are to reach it."""
        if self._security.grpc.is_open:
            return None
        is_tier = self._settings.role in ("pre", "predict", "post")
        return GrpcGate(self._security.grpc, self._audit, codes, stages_open=is_tier)

    async def _http(
        self,
        app: Any,
        protocol: Any,
        listener: socket.socket,
        tls: LoopTls | None,
        departure: HttpDeparture | None = None,
    ) -> None:
        if departure is not None:
            await self._begin.wait()
        await serve_http(
            app,
            protocol,
            listener,
            self._closing,
            keep_alive_s=self._settings.http_keep_alive_secs,
            finish_within_s=self._settings.exit_timeout_secs,
            tls=tls,
            departure=departure,
        )

    async def _grpc(
        self,
        door: GrpcDoor,
        front: InferFront | None,
        health: HealthDoor,
        transport: Transport,
        listener: socket.socket,
        gate: GrpcGate | None,
    ) -> None:
        """Serve gRPC: by the fast front with grpcio behind it, or by grpcio alone where there is no front."""
        if self._settings.reuse_grpc_port:
            await self._begin.wait()
        limits: dict[str, Any] = {"finish_within_s": self._settings.exit_timeout_secs}
        inside: dict[str, Any] = {
            "gate": gate,
            "max_message_bytes": self._settings.grpc_max_message_bytes,
            "services": self._behind.services,
        }

        @asynccontextmanager
        async def behind(where: str) -> AsyncIterator[None]:
            connections = transport.for_grpcio_behind()
            async with grpcio_server(door, health, where, connections, **inside, **limits):
                yield

        if front is not None:
            await front.serve(listener, behind, self._closing, tls=self._security.grpc_tls, **limits)
        else:
            host, port = listener.getsockname()[:2]
            listener.close()  # it kept the port while the other parts were made; grpcio binds by itself
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            inside |= {"shares_port": self._settings.reuse_grpc_port, "tls": self._security.grpcio_tls}
            async with grpcio_server(door, health, address, transport.for_grpcio(), **inside, **limits):
                await self._closing.wait()
                await door.answered(self._settings.exit_timeout_secs)


def _forwarding(pattern: str) -> HeaderForwarding | None:
    return HeaderForwarding(pattern) if pattern else None


def tags_of(catalogue: Catalogue) -> Tags:
    return {facts.model: facts.config.metric_tags for facts in catalogue.all_facts()}


def versions_of(catalogue: Catalogue) -> Sequence[Measured]:
    """The versions that serve, as metrics show them."""
    return [
        Measured(facts.model, str(facts.version), facts.config.metric_tags, facts.tally)
        for facts in catalogue.all_facts()
    ]


def index_of(catalogue: Catalogue) -> Sequence[Indexed]:
    """The repository index, as metrics show it."""
    return [
        Indexed(
            line.model,
            "" if line.version is None else str(line.version),
            line.state,
            in_trouble=line.state is State.UNAVAILABLE and line.reason != UNLOADED,
        )
        for line in catalogue.index()
    ]
